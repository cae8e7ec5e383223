"""A run's recorded overrides, repeated by `resume=` and `reproduce=`. Imports nothing heavy."""

import re
from pathlib import Path

from colorlab import plugins
from colorlab.command_line import key_of
from colorlab.config import GROUPS, PACKAGES, SETTINGS, flatten
from colorlab.errors import UserError
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.runs.folder import RunFolder

QUOTES = "'\""

REPLACED = {
    "data.decode": (),
    "data.cache=ram": ("++data.cache=disk",),
    **{f"schedule={name}": (f"schedule=recipes/{name}",) for name in ("demo", "results", "short_cosine", "zhang2016")},
}
"""Overrides of earlier versions, by `key` or `key=value`, and the ones that mean the same now."""

RENAMED = {"schedule.epochs": "schedule.length"}
"""Keys of earlier versions, and their names now."""


def with_resumed_overrides(arguments: list[str]) -> list[str]:
    """On `resume=PATH`, put the run's own overrides before the new ones, and continue in its folder.

    A run that was lost before its first checkpoint is started again in its folder.

    Raises:
        UserError: there is no checkpoint, or an override is not safe to repeat.
    """
    given = _last_path(arguments, "resume")
    if given is None:
        return arguments
    folder = RunFolder(given)
    if folder.never_saved():
        print(f"{given} has no checkpoint yet: the run starts again.", flush=True)
        arguments = [argument for argument in arguments if key_of(argument) != "resume"]
    else:
        folder = RunFolder.of(find_checkpoint(given))
    recorded = folder.overrides()
    if recorded is None:  # a checkpoint without its run's folder: the command says how to train
        return arguments
    _check_plugins(folder)
    new = {key_of(argument) for argument in arguments}
    run = folder.settings("run")
    filed = {key: run[key] for key in ("name", "group") if run.get("group")}
    recorded = [*recorded, *(f"run.{key}='{value}'" for key, value in filed.items() if f"run.{key}" not in
                             map(key_of, recorded))]  # fmt: skip
    here = [] if "hydra.run.dir" in new else [f"hydra.run.dir='{folder.path}'"]
    return [*_repeatable(recorded, new), *here, *arguments]


def with_reproduced_overrides(arguments: list[str]) -> list[str]:
    """On `reproduce=RUN_FOLDER`, put the run's own overrides before the new ones.

    Overrides that filed the run in a sweep, or made it resume, are left out: it is trained alone and from
    its start.

    Raises:
        UserError: the folder holds no run, or an override is not safe to repeat.
    """
    given = _last_path(arguments, "reproduce")
    if given is None:
        return arguments
    recorded = RunFolder(given).overrides()
    if recorded is None:
        raise UserError(f"reproduce={given} is not the folder of a run (it has no overrides.yaml).")
    _check_plugins(RunFolder(given))
    return [*_repeatable(recorded, {key_of(argument) for argument in arguments} | {"resume"}), *arguments]


def _check_plugins(folder: RunFolder) -> None:
    """Refuse a run that was trained with another package's classes, unless that package is a plugin here, too.

    Raises:
        UserError: the package has to be typed.
    """
    targets = [value for key, value in flatten(folder.configuration()).items() if key.endswith("_target_")]
    for package in sorted({str(target).partition(".")[0] for target in targets}):
        if package not in (*PACKAGES, *plugins.packages()):
            raise UserError(f"{folder.path} was trained with classes of {package}{plugins.how_to_allow(package)}")


def _last_path(arguments: list[str], key: str) -> Path | None:
    given = [argument.partition("=")[2].strip(QUOTES) for argument in arguments if key_of(argument) == key]
    return Path(given[-1]).expanduser() if given and given[-1] not in ("", "null") else None


def _repeatable(recorded: list[str], new: set[str]) -> list[str]:
    """Return recorded overrides in today's names, without those given anew and those of a sweep.

    Raises:
        UserError: one of them is not safe to repeat.
    """
    kept = [word for word in in_todays_names(recorded) if key_of(word) not in new]
    kept = [word for word in kept if not re.match(r"(sweep|callbacks\.pruning)\b", key_of(word))]
    for word in kept:
        check_safe(word)
    return kept


def in_todays_names(words: list[str]) -> list[str]:
    """Return overrides with those of earlier versions replaced by the ones that mean the same now."""
    return [today for word in words for today in _in_todays_name(word)]


def _in_todays_name(word: str) -> tuple[str, ...]:
    key = key_of(word)
    if key in RENAMED:
        return (word.replace(key, RENAMED[key], 1),)
    exact = f"{key}={word.partition('=')[2].strip(QUOTES)}"
    return REPLACED.get(exact, REPLACED.get(key, (word,)))


def check_safe(word: str) -> None:
    """Refuse a recorded override that does more than choose from colorlab's configuration.

    A stranger may have written the folder. Refused are flags and keys of Hydra, which can start anything,
    configurations from elsewhere, and resolvers, which could send a secret of the environment to a tracker.

    Raises:
        UserError: the override is one of these.
    """
    key, _, value = word.partition("=")
    root = re.fullmatch(r"[+~]{0,2}(\w+)(\.\w+)*", key)
    elsewhere = key_of(word) in GROUPS and (".." in value or "/" in value[:2])
    if not root or root[1] not in (*GROUPS, *SETTINGS) or elsewhere or re.search(r"\$\{.*:", value, re.DOTALL):
        raise UserError(
            f"The run's folder holds the override {word!r}, which is never repeated automatically:"
            f" add {key_of(word)}=… to the command if you want it."
        )
