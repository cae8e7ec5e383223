"""The models that an evaluation compares, each with the name that the results give it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer
from colorlab.models.weights import find_model, load
from colorlab.runs.checkpoints import sha256_of
from colorlab.runs.weight_files import checkpoint_typed_as


@dataclass
class NamedModel:
    """A trained model and its name in the results."""

    name: str
    model: Colorizer
    checkpoint: Path
    sha256: str  # of the checkpoint file


def load_models(paths: list[str]) -> list[NamedModel]:
    """Load the models from checkpoint files, from the best checkpoints of run folders, or published ones by word.

    A model is named after its file or its run folder; of equal names, each is prefixed with as many parent folders
    as are needed to tell them apart.

    Raises:
        UserError: a checkpoint does not exist, is given twice, or holds no colorlab model.
    """
    files = [find_model(Path(path).expanduser()).resolve() for path in paths]
    if twice := [str(file) for file, count in Counter(files).items() if count > 1]:
        raise UserError(f"checkpoint names {twice[0]} twice.")
    given = [Path(path).expanduser().resolve() for path in paths]
    parts = [
        path.parts[1:] if path.is_dir() else (*_run_folder(file).parts[1:], file.stem)
        for path, file in zip(given, files, strict=True)
    ]
    names = unique_names(parts)
    with checkpoint_typed_as("checkpoint="):
        return [NamedModel(name, load(file), file, sha256_of(file)) for name, file in zip(names, files, strict=True)]


def checkpoints_of(models: list[NamedModel]) -> dict[str, dict[str, str]]:
    """Return the checkpoint and its SHA-256 for each model, as evaluation.json and study.json hold them."""
    return {each.name: {"checkpoint": str(each.checkpoint), "sha256": each.sha256} for each in models}


def _run_folder(file: Path) -> Path:
    """Return the run folder of a checkpoint, or the folder that contains the file."""
    return file.parent.parent if file.parent.name == "checkpoints" else file.parent


def unique_names(paths: list[tuple[str, ...]]) -> list[str]:
    """Name each path by its last part, prefixed with as many parent folders as tell it from the others.

    Args:
        paths: the parts of each path.

    Raises:
        UserError: two paths are equal.
    """
    counts = [1] * len(paths)
    names: list[str] = []
    used: Counter[str] = Counter()
    for _ in range(max(map(len, paths), default=0)):
        names = ["_".join(parts[-count:]) for parts, count in zip(paths, counts, strict=True)]
        used = Counter(names)
        counts = [count + (used[name] > 1) for name, count in zip(names, counts, strict=True)]
    if twice := [parts[-1] for parts, name in zip(paths, names, strict=True) if used[name] > 1]:
        raise UserError(f"Two checkpoints have the same name, {twice[0]}: rename one.")
    return names
