"""What `--help` prints for a command that Hydra configures, made from the files in conf/. Imports nothing heavy."""

import textwrap
from pathlib import Path

import yaml

from colorlab import plugins
from colorlab.config.settings import Filing, conf_folder

WIDTH = 80
"""Columns of the narrowest usual terminal."""

COMMANDS = {
    "train": (
        "Train a network that colors gray photographs; with -m, a sweep of them.",
        "experiment=demo",
        "model=cunet data=folder data.root=PHOTOS",
        "-m model=eccv16,cunet optim.lr=1e-3,1e-4",
    ),
    "evaluate": (
        "Measure how well trained networks color photographs.",
        "checkpoint=RUN",
        "checkpoint=RUN,eccv16 data=folder data.root=PHOTOS",
        "checkpoint=RUN metrics=psnr,ciede2000 split=all",
    ),
    "study": (
        "Ask people on a web page which of two pictures is the fake.",
        "checkpoint=RUN out=STUDY data=folder data.root=PHOTOS",
        "checkpoint=RUN,eccv16 out=STUDY counted=20",
        "--report out=STUDY",
    ),
    "shards": (
        "Pack photographs into a few large files, for a training from slow storage.",
        "data=folder data.root=PHOTOS out=SHARDS",
        "data=folder data.root=PHOTOS out=SHARDS megabytes=32",
        "data=folder data.root=PHOTOS out=s3://BUCKET/X",
    ),
    "prior": (
        "Count the colors of photographs, for a loss that gives rare colors more weight.",
        "data=folder data.root=PHOTOS",
        "data=folder data.root=PHOTOS hydra.run.dir=PRIOR",
        "data=shards data.root=SHARDS",
    ),
}
"""What each command is for, and three examples of what follows its name."""

GROUPS = {
    "model": "The network. Its constructor's arguments describe the architecture.",
    "optim": "The optimizer. `optim.lr` and `optim.weight_decay` are base values; the schedule multiplies them.",
    "schedule": "Factors of the learning rate and the weight decay over time.",
    "objective": "The loss. A plain torch loss is called with (predicted ab, true ab).",
    "data": "The photographs, and how they are split, read and augmented.",
    "callbacks": "What happens during a training. `callbacks.NAME=null` removes one.",
    "logger": "The trackers. One, or a list, such as `logger=[wandb,mlflow]`.",
    "trainer": "Lightning's Trainer: device, precision, number of epochs.",
    "sweep": "How `-m` chooses the runs.",
    "experiment": "Complete recipes. Keys after the command override them.",
}
"""What each group configures: a sentence for `--help`, and more for docs/reference.md."""


def help_of(command: str, keys: tuple[str, ...]) -> str:
    """Return the text of `--help`: the purpose, three examples, the groups, and where the reference is.

    Args:
        command: name of its file in conf/, without the suffix.
        keys: the top level of its configuration.
    """
    purpose, *examples = COMMANDS[command]
    defaults = _defaults(command)
    filing = [f"run.{key}" for key in Filing.__annotations__] if "run" in keys else []
    own = [*(key for key in keys if key not in defaults and key != "run"), *filing]
    lines = [
        purpose, "", *(f"  python -m colorlab.{command} {words}" for words in examples), "",
        "Groups with their defaults, what they configure, and their choices:",
        *(line for group in GROUPS if group in defaults for line in _group(group, defaults[group])),
        "", *_wrapped(f"Other keys: {', '.join(own)}.", ""),
        "docs/reference.md describes every key; --cfg job prints the whole configuration.",
    ]  # fmt: skip
    return "\n".join(lines)


def _defaults(command: str) -> dict[str, str | None]:
    """Return the groups of a command, and the choice of each that its configuration makes."""
    listed = yaml.safe_load((conf_folder() / f"{command}.yaml").read_text(encoding="utf-8"))["defaults"]
    return {group: choice for entry in listed if isinstance(entry, dict) for group, choice in entry.items()}


def _group(group: str, default: str | None) -> list[str]:
    """Return the lines on a group: what it configures, and its choices."""
    sentence = GROUPS[group].partition(". ")[0].rstrip(".").replace("`", "")
    title = f"{group}={default}" if default else group
    return [f"  {title:<18}{sentence}", *_wrapped(", ".join(_choices(group)), " " * 20)]


def _choices(group: str) -> list[str]:
    """Return the names of a group's files: those of colorlab, and those of the packages that extend it."""
    folders: list[Path] = [conf_folder(), *plugins.conf_folders().values()]
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 1, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
