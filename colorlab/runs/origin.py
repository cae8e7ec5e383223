"""A run's origin: everything its numbers depend on, kept in its folder and compared when the run is reproduced."""

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import colorlab
from colorlab import plugins
from colorlab.config import flatten
from colorlab.config.words import as_typed
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics

PACKAGES = (
    "torch", "torchvision", "torchmetrics", "kornia", "lightning", "numpy", "pillow", "tifffile",
    "hydra-core", "omegaconf", "wandb",
)  # fmt: skip
REPOSITORY = Path(colorlab.__file__).parents[1]
CODE = ("colorlab", "conf", "hydra_plugins")


def command_of(overrides: list[str]) -> str:
    """Return the command that trains a run of these overrides."""
    return shlex.join(["python", "-m", "colorlab.train", *plugins.typed_words(), *map(as_typed, overrides)])


def typed_command() -> str:
    """Return the command that started this process."""
    return shlex.join(sys.orig_argv)


def keep_origin(folder: RunFolder, command: str, seed: int, data: dict[str, Any]) -> dict[str, Any]:
    """Write what the run's numbers depend on beside its configuration, and return it.

    A resumed run keeps its first origin; those of its resumes are appended under `resumed`.

    Args:
        folder: the run's folder.
        command: what started the training.
        seed: the training's.
        data: what tells the photographs from others, as ColorDataModule gives it.
    """
    code, diff = _code()
    origin = {
        "command": command, "working_folder": str(Path.cwd()), "seed": seed, "code": code, "versions": versions(),
        "device": _device(), "data": data,
    }  # fmt: skip
    begun = folder.origin()
    if begun is None:
        folder.write_origin(origin, diff)
    else:
        resumed = begun.get("resumed")
        folder.write_origin({**begun, "resumed": [*(resumed if isinstance(resumed, list) else []), origin]})
    return origin


# -- compared ----------------------------------------------------------------------------------------


def differences(folder: RunFolder, other: RunFolder, origin: dict[str, Any]) -> list[str]:
    """Return what differs between a new run and the one it reproduces, one line each.

    Args:
        folder: the new run's; its configuration is already written.
        other: the folder of the run to reproduce.
        origin: the new run's.
    """
    then = other.origin()
    if then is None:
        return ["the run kept no origin.json: its code, versions and photographs are not known"]
    lines = ["it was resumed; here it is trained from the start"] if then.get("resumed") else []
    now, before = _comparable(folder, origin), _comparable(other, then)
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            lines.append(f"{key}: {before.get(key)} then, {now.get(key)} now")
    return lines


def same_losses(folder: RunFolder, other: RunFolder) -> str:
    """Return one line that says whether two runs had the same losses in every epoch."""
    names = ("val/loss", "train/loss")
    mine, theirs = ({name: read_metrics(run).get(name, {}) for name in names} for run in (folder, other))
    epochs = sorted({epoch for losses in (mine, theirs) for name in names for epoch in losses[name]})
    for epoch in epochs:
        for name in names:
            now, then = mine[name].get(epoch), theirs[name].get(epoch)
            if repr(now) != repr(then):  # nan != nan, but the result is the same
                return f"not reproduced: {name} of epoch {epoch} was {then} in {other.path}, and is {now} here"
    return f"reproduced: the losses of all {len(epochs)} epochs are those of {other.path}"


def _comparable(folder: RunFolder, origin: dict[str, Any]) -> dict[str, Any]:
    facts = {key: origin.get(key) for key in ("code", "versions", "device", "data")}
    leaves = flatten(facts | {"config": _without_place(folder)})
    for key, value in leaves.items():
        if key.endswith("._target_"):  # a class that has moved to another module is the same
            leaves[key] = str(value).rpartition(".")[2]
    return leaves


def _without_place(folder: RunFolder) -> dict[str, Any]:
    """Return a run's configuration without the keys that say where it is kept and how it is filed."""
    here = json.dumps(str(folder.path.resolve()))[1:-1]  # escaped as in the JSON text
    config = json.loads(json.dumps(folder.configuration()).replace(here, "RUN"))
    for key in ("run", "resume", "reproduce", "sweep"):
        config.pop(key, None)
    for logger in (config.get("logger") or {}).values():
        for key in ("name", "group", "tags", "notes", "project"):
            (logger or {}).pop(key, None)
    (config.get("callbacks") or {}).pop("pruning", None)
    return config


# -- facts -------------------------------------------------------------------------------------------


def versions() -> dict[str, str | None]:
    """Return the versions of everything that a run's numbers may depend on, {name: version}."""
    import torch

    found: dict[str, str | None] = {"python": platform.python_version(), "colorlab": colorlab.__version__}
    found |= {name: version(name) for name in PACKAGES}
    return found | {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version() or "") or None}


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}"
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _code() -> tuple[dict[str, Any], str]:
    """Return the commit of the code and its uncommitted changes as a diff, untracked files included."""
    if _git("ls-files", "colorlab/__init__.py").strip() != "colorlab/__init__.py":
        return {"commit": f"none: {REPOSITORY} is no git repository of colorlab"}, ""
    unknown = _git("ls-files", "--others", "--exclude-standard", *CODE).splitlines()
    diff = _git("diff", "HEAD", "--", *CODE)
    diff += "".join(_git("diff", "--no-index", "/dev/null", name) for name in unknown)
    code: dict[str, Any] = {"commit": _git("rev-parse", "HEAD").strip()}
    if diff:
        changed = _git("diff", "HEAD", "--name-only", "--", *CODE).splitlines()
        code |= {"changed": sorted([*changed, *unknown]), "diff": hashlib.blake2b(diff.encode()).hexdigest()[:24]}
    return code, diff


def _git(*words: str) -> str:
    """Return what git prints; an empty text if there is no git or no repository."""
    try:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, errors="replace").stdout
    except OSError:
        return ""
