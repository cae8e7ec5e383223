"""A run's recorded overrides, repeated by `resume=` and `reproduce=`. Imports nothing heavy.

A stranger may have written the folder. Overrides that this user's own runs have recorded are repeated as they are
(`colorlab.runs.seal`); of any others only those that can do nothing but choose (`is_harmless`).
"""

import os
import re
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from colorlab import plugins
from colorlab.config import GROUPS, PACKAGES, SETTINGS, flatten
from colorlab.config.words import QUOTES, as_typed, key_of, quoted
from colorlab.errors import UserError, printable
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.runs.folder import RunFolder
from colorlab.runs.seal import is_sealed

REPLACED = {
    "data.decode": (),
    "data.cache=ram": ("++data.cache=disk",),
    **{f"schedule={name}": (f"schedule=recipes/{name}",) for name in ("demo", "results", "short_cosine", "zhang2016")},
}
"""Overrides of earlier versions, by `key` or `key=value`, and the ones that mean the same now."""

RENAMED = {"schedule.epochs": "schedule.length"}
"""Keys of earlier versions, and their names now."""

SAFE_TEXT_KEYS = re.compile(
    r"metrics|model\.(head|encoder|freeze)|data\.(cache|decode)|schedule\.unit"
    r"|trainer\.(accelerator|strategy|devices|precision|gradient_clip_algorithm)|callbacks\.\w+\.(monitor|mode|on_\w+)"
)
"""Keys whose texts are names that colorlab, Lightning or timm knows. They are repeated for a stranger's run, too."""

_CONFIGURES = re.compile(rf"[+~]{{0,2}}({'|'.join((*GROUPS, *SETTINGS))})(\.\w+)*")
_WANDBS_OWN = "wandb/*/logs/debug-core.log"  # leads to wandb's cache; each start makes a folder and a link of its own
_OF_A_SWEEP = re.compile(r"(sweep|callbacks\.pruning)\b")


def with_recorded_overrides(arguments: list[str]) -> list[str]:
    """Put the overrides that a run's folder holds before the new ones, on `resume=` or `reproduce=`.

    Raises:
        UserError: both are given, or `with_resumed_overrides` or `with_reproduced_overrides` raises it.
    """
    reproduce = [word for word in arguments if word.startswith("reproduce=")]  # a resume repeats it as ++reproduce=
    if not reproduce or not _last_path(reproduce, "reproduce"):
        return with_resumed_overrides(arguments)
    if _last_path(arguments, "resume"):
        raise UserError("resume= continues a run, reproduce= trains it again from its start: give only one of them.")
    return with_reproduced_overrides(arguments)


def with_resumed_overrides(arguments: list[str]) -> list[str]:
    """On `resume=PATH`, put the run's own overrides before the new ones, and continue in its folder.

    A run that was lost before its first checkpoint is started again in its folder.

    Raises:
        UserError: there is no checkpoint, an override has to be typed, or a link leads out of a stranger's folder.
    """
    given = _last_path(arguments, "resume")
    if given is None:
        return arguments
    folder = RunFolder(given)
    if folder.never_saved():
        print(f"{given} has no checkpoint yet: the run starts again.", flush=True)
        arguments = [argument for argument in arguments if key_of(argument) != "resume"]
    else:
        checkpoint = find_checkpoint(given)
        folder = RunFolder(given.resolve()) if given.is_dir() else RunFolder.of(checkpoint)
    own = is_sealed(folder.overrides_file)
    if not own:
        check_links(given)
    recorded = folder.overrides()
    if recorded is None:  # a checkpoint without its run's folder: the command says how to train
        return arguments
    if not own:
        check_links(folder.path)
    _check_plugins(folder)
    new = {key_of(argument) for argument in arguments}
    run = folder.settings("run")
    here = [f"run.{key}={quoted(run[key])}" for key in ("name", "group") if run.get(key)]
    here = [word for word in here if key_of(word) not in map(key_of, recorded)]
    place = [] if "hydra.run.dir" in new else [f"hydra.run.dir={quoted(folder.path)}"]
    return _inserted([*_repeatable(folder, recorded, here, new), *place], arguments)


def with_reproduced_overrides(arguments: list[str]) -> list[str]:
    """On `reproduce=RUN_FOLDER`, put the run's own overrides before the new ones.

    Overrides that filed the run in a sweep, or made it resume, are left out: it is trained alone and from
    its start.

    Raises:
        UserError: the folder holds no run, or an override has to be typed.
    """
    given = _last_path(arguments, "reproduce")
    if given is None:
        return arguments
    folder = RunFolder(given)
    recorded = folder.overrides()
    if recorded is None:
        raise UserError(f"reproduce={given} is not the folder of a run (it has no overrides.yaml).")
    _check_plugins(folder)
    new = {key_of(argument) for argument in arguments} | {"resume"}
    return _inserted(_repeatable(folder, recorded, [], new), arguments)


def _inserted(recorded: list[str], arguments: list[str]) -> list[str]:
    """Put overrides before the first one of a command: Hydra takes no options between two overrides."""
    overrides = (place for place, word in enumerate(arguments) if re.match(r"[+~]*[\w/@.]+=|~", word))
    first = next(overrides, len(arguments))
    return [*arguments[:first], *recorded, *arguments[first:]]


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


def _repeatable(folder: RunFolder, recorded: list[str], filed: list[str], new: set[str]) -> list[str]:
    """Return recorded overrides in today's names, without those given anew and those of a sweep.

    Args:
        folder: the run's folder.
        recorded: its overrides.
        filed: further ones, made from its configuration.
        new: the keys of the overrides that are given anew.

    Raises:
        UserError: some of them have to be typed.
    """
    own = is_sealed(folder.overrides_file)
    if not own:  # paths to other runs
        new = new | {"resume", "reproduce"}
    kept, more = (
        [word for word in in_todays_names(words) if key_of(word) not in new and not _OF_A_SWEEP.match(key_of(word))]
        for words in (recorded, filed)
    )
    foreign = [word for word in ([] if own else kept) + more if not is_harmless(word)]
    file = printable(folder.overrides_file)
    for word in [*kept, *foreign]:
        shown = word.isprintable() or (own and word in kept)  # the user's own texts may have line breaks
        if not _CONFIGURES.fullmatch(word.partition("=")[0]) or not shown:
            raise UserError(
                f"{file} holds the override {word!r}, which is never repeated automatically: add"
                f" {printable(key_of(word))}=… to the command if you want it."
            )
    if foreign:
        raise UserError(
            f"{file} was not written by you on this machine. What may name files, addresses or classes is never"
            " repeated automatically then: read these words, and add to the command those you want:"
            f" {shlex.join(map(as_typed, foreign))}"
        )
    return [
        word.replace("reproduce=", "++reproduce=") if word.startswith("reproduce=") else word for word in kept
    ] + more


def is_harmless(word: str) -> bool:
    """Return whether an override of a stranger may be repeated: it names no file, no address, no class, no variable.

    These are numbers, truth values and null for any key, files of colorlab's groups, and the texts of `SAFE_TEXT_KEYS`.
    """
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    key, value = override.key_or_group, override.value()
    if not _CONFIGURES.fullmatch(word.partition("=")[0]) or override.package is not None:
        return False
    leaves = value if isinstance(value, list) else [value]
    return override.is_delete() or all(
        leaf is None or isinstance(leaf, bool | int | float) or (isinstance(leaf, str) and _names_nothing(key, leaf))
        for leaf in leaves
    )


def _names_nothing(key: str, text: str) -> bool:
    """Return whether the text for a key is a choice among colorlab's, or is only shown."""
    if key in ("run.project", "run.name", "run.group", "run.tags", "run.notes", "trainer.max_time"):
        return "$" not in text
    chooses = key in GROUPS or SAFE_TEXT_KEYS.fullmatch(key)
    return bool(chooses and re.fullmatch(r"[\w*-][\w*.-]*(/[\w*-][\w*.-]*)*", text))


def in_todays_names(words: list[str]) -> list[str]:
    """Return overrides with those of earlier versions replaced by the ones that mean the same now."""
    return [today for word in words for today in _in_todays_name(word)]


def _in_todays_name(word: str) -> tuple[str, ...]:
    key = key_of(word)
    if key in RENAMED:
        return (word.replace(key, RENAMED[key], 1),)
    exact = f"{key}={word.partition('=')[2].strip(QUOTES)}"
    return REPLACED.get(exact, REPLACED.get(key, (word,)))


def check_links(run: Path) -> None:
    """Refuse a stranger's run folder, or a checkpoint of it, with links out of it: a resume would write there.

    Raises:
        UserError: there is such a link.
    """
    if run.is_file():
        home, paths = run.parent.resolve().parent, iter([run])
    else:
        home = run.resolve()
        paths = (Path(place) / name for place, folders, files in os.walk(run) for name in (*folders, *files))
    for path in paths:
        if path.match(_WANDBS_OWN):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise UserError(
                f"{printable(path)} is a link to {printable(path.resolve())}, outside of the run's folder, where a"
                " resumed run writes nothing: put there what the link leads to, or remove it."
            )
