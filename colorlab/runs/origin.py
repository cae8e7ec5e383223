"""Where a run's numbers come from: all they depend on, written into its folder, and compared when it is run again."""

import hashlib
import json
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import colorlab
from colorlab.command_line import as_typed, key_of
from colorlab.config import flatten
from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.train.experiment import GROUPS, KEYS

if TYPE_CHECKING:
    from colorlab.data import ColorDataModule

PACKAGES = (
    "torch", "torchvision", "torchmetrics", "kornia", "lightning", "numpy", "pillow", "tifffile",
    "hydra-core", "omegaconf", "wandb",
)  # fmt: skip
REPOSITORY = Path(colorlab.__file__).parents[1]
CODE = ("colorlab", "conf", "hydra_plugins")


def command_of(overrides: list[str]) -> str:
    """What one types to train a run of these overrides."""
    return shlex.join(["python", "-m", "colorlab.train", *map(as_typed, overrides)])


def typed_command() -> str:
    """What was typed to start this process."""
    return shlex.join(sys.orig_argv)


def keep_origin(folder: RunFolder, command: str, seed: int, data: "ColorDataModule") -> dict[str, Any]:
    """Keep in the run's folder what its numbers depend on beside its configuration, and return that.

    A resumed run keeps what it began with; its resumes stand under `resumed`.
    """
    code, diff = _code()
    origin = {
        "command": command, "working_folder": str(Path.cwd()), "seed": seed, "code": code, "versions": versions(),
        "device": _device(), "data": _data(data),
    }  # fmt: skip
    begun = folder.origin()
    if begun is None:
        folder.write_origin(origin, diff)
    else:
        folder.write_origin({**begun, "resumed": [*begun.get("resumed", []), origin]})
    return origin


# -- once more ---------------------------------------------------------------------------------------


def words_again(arguments: list[str]) -> list[str]:
    """On `reproduce=RUN_FOLDER`, put the run's own overrides before the new ones.

    What filed the run in a sweep, or made it go on from a checkpoint, is left out: it is trained alone,
    from its start.

    Raises:
        UserError: the folder is no run's, or one of its overrides is not repeated.
    """
    given = [argument.partition("=")[2].strip("'\"") for argument in arguments if key_of(argument) == "reproduce"]
    if not given or given[-1] in ("", "null"):
        return arguments
    recorded = RunFolder(Path(given[-1]).expanduser()).overrides()
    if recorded is None:
        raise UserError(f"reproduce={given[-1]} is not the folder of a run (it has no overrides.yaml).")
    new = {key_of(argument) for argument in arguments} | {"resume"}
    return [*words_alone(recorded, new), *arguments]


def words_alone(recorded: list[str], new: set[str]) -> list[str]:
    """A run's overrides without the keys that are given anew, and without what made it one of a sweep.

    Raises:
        UserError: one of them does more than to choose from colorlab's configuration.
    """
    old = [word for word in recorded if key_of(word) not in new]
    old = [word for word in old if not re.match(r"(sweep|callbacks\.pruning)\b", key_of(word))]
    for word in old:
        check_repeated(word)
    return old


def check_repeated(word: str) -> None:
    """Refuse to repeat an override that a stranger may have written into a run's folder to have more done than
    training: a flag or a key of Hydra's, which starts whatever one names; a configuration from elsewhere; a secret of
    the environment, which would go where the numbers go.

    Raises:
        UserError: it is one.
    """
    key, _, value = word.partition("=")
    root = re.fullmatch(r"[+~]{0,2}(\w+)(\.\w+)*", key)
    elsewhere = key_of(word) in GROUPS and (".." in value or "/" in value[:2])
    if not root or root[1] not in (*KEYS, "experiment") or elsewhere or re.search(r"\$\{.*:", value, re.DOTALL):
        raise UserError(
            f"The run's folder holds the override {word!r}, which no resume or reproduce repeats by itself:"
            f" give {key_of(word)}=… in the command, as you mean it."
        )


def differences(folder: RunFolder, other: RunFolder, origin: dict[str, Any]) -> list[str]:
    """What differs between a run that begins and the one it is to reproduce, a line each.

    Args:
        folder: of the run that begins; its configuration is written.
        other: of the run to reproduce.
        origin: of the run that begins.
    """
    then = other.origin()
    if then is None:
        return ["the run kept no origin.json: its code, versions and photographs are not known"]
    lines = ["it was resumed on its way; here it is trained from the start"] if then.get("resumed") else []
    now, before = _comparable(folder, origin), _comparable(other, then)
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            lines.append(f"{key}: {before.get(key)} then, {now.get(key)} now")
    return lines


def same_losses(folder: RunFolder, other: RunFolder) -> str:
    """One line on whether two runs had the same losses in each epoch."""
    names = ("val/loss", "train/loss")
    mine, theirs = ({name: read_metrics(run).get(name, {}) for name in names} for run in (folder, other))
    epochs = sorted({epoch for losses in (mine, theirs) for name in names for epoch in losses[name]})
    for epoch in epochs:
        for name in names:
            now, then = mine[name].get(epoch), theirs[name].get(epoch)
            if repr(now) != repr(then):  # nan is not nan, and the same
                return f"not reproduced: {name} of epoch {epoch} was {then} in {other.path}, and is {now} here"
    return f"reproduced: the losses of all {len(epochs)} epochs are those of {other.path}"


def _comparable(folder: RunFolder, origin: dict[str, Any]) -> dict[str, Any]:
    facts = {key: origin.get(key) for key in ("code", "versions", "device", "data")}
    return flatten(facts | {"config": _without_place(folder)})


def _without_place(folder: RunFolder) -> dict[str, Any]:
    """A run's configuration without what only says where it is kept and how it is filed."""
    here = json.dumps(str(folder.path.resolve()))[1:-1]  # as JSON writes it: with \\, and \\u for what is not ASCII
    config = json.loads(json.dumps(folder.configuration()).replace(here, "RUN"))
    for key in ("run", "resume", "reproduce", "sweep"):
        config.pop(key, None)
    for logger in (config.get("logger") or {}).values():
        for key in ("name", "group", "tags", "notes", "project"):
            (logger or {}).pop(key, None)
    (config.get("callbacks") or {}).pop("pruning", None)
    return config


def versions() -> dict[str, str | None]:
    """Of everything a run's numbers may depend on."""
    import torch

    found: dict[str, str | None] = {"python": platform.python_version(), "colorlab": colorlab.__version__}
    found |= {name: version(name) for name in PACKAGES}
    return found | {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version() or "") or None}


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}"
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _data(data: "ColorDataModule") -> dict[str, Any]:
    """The photographs: how many, and what tells them from others (names and sizes: as quick as listing them)."""
    from colorlab.data.cache import fingerprint

    splits = {
        split: {"photographs": len(names), "fingerprint": fingerprint(data.root, names, times=False)}
        for split, names in data.names.items()
    }
    return {"root": str(data.root), **splits}


def _code() -> tuple[dict[str, Any], str]:
    """Which code this is, and its changes since that commit, files that git does not know yet included."""
    if _git("ls-files", "colorlab/__init__.py").strip() != "colorlab/__init__.py":
        return {"commit": f"none: {REPOSITORY} is no git repository of colorlab"}, ""
    unknown = _git("ls-files", "--others", "--exclude-standard", *CODE).splitlines()
    diff = _git("diff", "HEAD", "--", *CODE)
    diff += "".join(_git("diff", "--no-index", "/dev/null", name) for name in unknown)
    code = {"commit": _git("rev-parse", "HEAD").strip()}
    if diff:
        changed = _git("diff", "HEAD", "--name-only", "--", *CODE).splitlines()
        code |= {"changed": sorted([*changed, *unknown]), "diff": hashlib.blake2b(diff.encode()).hexdigest()[:24]}
    return code, diff


def _git(*words: str) -> str:
    """What git says; nothing where there is no git, or no repository."""
    try:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, errors="replace").stdout
    except OSError:
        return ""
