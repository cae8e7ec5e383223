"""The words behind a command of Hydra's: mistakes in their form, and texts that Hydra's grammar would read otherwise.

Imports nothing heavy: what is wrong here is said before torch is imported.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from colorlab.config.settings import conf_folder
from colorlab.errors import UserError, did_you_mean

OPTIONS_WITH_VALUE = (
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
    "--experimental-rerun",
)  # fmt: skip
"""Those of Hydra's options that a value follows."""

INFO_OPTIONS, INFO_TOPICS = ("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""An option that one of these words may follow."""

OPTIONS = (
    *OPTIONS_WITH_VALUE, *INFO_OPTIONS, "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r",
    "--multirun", "-m", "--shell-completion", "-sc",
)  # fmt: skip
"""Hydra's own options."""

PRINTING = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
"""Those of Hydra's options that print something in place of running the job."""

ALIASES = {
    "lr": "optim.lr", "learning_rate": "optim.lr", "optim.learning_rate": "optim.lr",
    "weight_decay": "optim.weight_decay", "wd": "optim.weight_decay", "optimizer": "optim", "scheduler": "schedule",
    "loss": "objective", "epochs": "trainer.max_epochs", "max_epochs": "trainer.max_epochs",
    "trainer.epochs": "trainer.max_epochs", "steps": "trainer.max_steps", "max_steps": "trainer.max_steps",
    "device": "trainer.accelerator", "accelerator": "trainer.accelerator", "devices": "trainer.devices",
    "gpus": "trainer.devices", "precision": "trainer.precision", "batch": "data.batch_size",
    "batch_size": "data.batch_size", "workers": "data.workers", "num_workers": "data.workers",
    "data.num_workers": "data.workers", "size": "data.size", "image_size": "data.size", "root": "data.root",
    "dataset": "data.root", "path": "data.root", "width": "model.width", "head": "model.head",
    "weights": "model.weights", "name": "run.name", "tags": "run.tags", "project": "run.project",
    "monitor": "callbacks.best.monitor", "patience": "callbacks.plateau.patience",
}  # fmt: skip
"""What people type elsewhere, and the key that means it here."""

TEXT_KEYS = (
    "resume", "reproduce", "data.root", "data.cache_dir", "model.weights", "model.encoder_weights", "objective.prior",
    "objective.weights", "run.name", "run.group", "run.notes", "run.project", "hydra.run.dir", "hydra.sweep.dir", "out",
    "prior", "alexnet", "inception", "against",
)  # fmt: skip
"""Keys whose value is a path or a text: it needs no quotes, whatever characters it has."""

_OVERRIDE = re.compile(r"[+~]{0,2}[\w@/.$-]+(:[\w@/.-]*)?=(?!=)|~[\w@/.]+$", re.ASCII)
_CFG_IN_ONE = ("-cjob", "-chydra", "-call")
_STRUCTURED = ("'", '"', "[", "{")
_DOTTED = re.compile(r"(?!hydra\.)\w+(\.\w+)+=")
_NODE = re.compile(r"\w+=\{.*\b_target_\b", re.DOTALL)
_NODES = re.compile(_DOTTED.pattern + r"\[.*\b_target_\b", re.DOTALL)
QUOTES = "'\""


def as_typed(override: str) -> str:
    """Return an override without the `++` that `run` adds."""
    return override.removeprefix("++")


def as_list(arguments: list[str], key: str) -> list[str]:
    """Turn `key=a,b` into a list of texts; Hydra would read it as a sweep."""
    return [_listed(argument) if key_of(argument) == key else argument for argument in arguments]


def as_hydra_takes(arguments: list[str], keys: tuple[str, ...]) -> list[str]:
    """Return the words of a command in the form in which Hydra does what they mean.

    Dotted overrides, and groups as nodes, get the prefix `++`, so that they may name keys that their YAML does not
    list: Hydra cannot know these, but `colorlab.config.check` asks the constructors. A schedule as a node,
    `schedule={_target_:CLASS}`, replaces the chosen file; the keys of one schedule mean nothing to another. In other
    groups, the chosen file's keys stay. A list of nodes, `data.augment=[{_target_:CLASS},…]`, replaces what the file
    has; Hydra would merge them, and cannot merge a list with a node. Texts are quoted where Hydra's grammar needs it,
    and Hydra's options come last.

    Args:
        arguments: the words.
        keys: the top level of the command's configuration.

    Raises:
        UserError: a word is not an override, or names a key by another name.
    """
    overrides, options = _sorted(arguments, keys)
    multirun = any(option in ("-m", "--multirun") for option in options)
    words = []
    for override in overrides:
        _check_key(override, keys)
        word = _quoted_if_needed(override, multirun)
        if _NODES.match(word):
            words.append(f"++{key_of(word)}=null")
        words.append(f"++{word}" if _DOTTED.match(word) or _NODE.match(word) else word)
    if any(word.startswith("++schedule={") for word in words) and "~schedule" not in words:
        words = ["~schedule", *words]
    return [*words, *options]


def only_prints(words: list[str]) -> bool:
    """Return whether the command only prints something, such as its help, and runs no job."""
    return any(word.partition("=")[0] in PRINTING or word in _CFG_IN_ONE for word in words)


def key_of(override: str) -> str:
    """Return the key of an override, without its prefix and value."""
    return override.partition("=")[0].lstrip("+~")


def quoted(value: object) -> str:
    """Return a value as a quoted text of Hydra's grammar, in which a backslash escapes itself only before a quote."""
    text = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + (match[2] and "\\'"), str(value))
    return f"'{text}'"


def _sorted(words: list[str], keys: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the overrides and the options; Hydra takes no overrides behind an option that a value follows."""
    overrides, options, left = [], [], list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            if not _OVERRIDE.match(word):
                raise _not_an_override(word, left, keys)
            overrides.append(word)
            continue
        name = word.partition("=")[0]
        long = name.startswith("--") and len(name) > 2
        known = [option for option in OPTIONS if option == name or (long and option.startswith(name))]
        if not known and word not in _CFG_IN_ONE:
            raise _not_an_override(word, left, keys)
        options.append(word)
        if "=" not in word and known and left and _takes(known[0], left[0]):
            options.append(left.pop(0))
    return overrides, options


def _takes(option: str, following: str) -> bool:
    """Return whether the word behind one of Hydra's options is its value."""
    return option in OPTIONS_WITH_VALUE or (option in INFO_OPTIONS and following in INFO_TOPICS)


def _not_an_override(word: str, following: list[str], keys: tuple[str, ...]) -> UserError:
    """Return what to write in place of a word that is neither an override nor an option."""
    key, value = [*re.split(r"[=:\s]+", word.lstrip("-"), maxsplit=1), ""][:2]
    typed = word
    if not value and following and not re.match("-|.*=", following[0]):
        value, typed = following[0], f"{word} {following[0]}"
    key = _alias(key, keys) or key
    if value and (key.partition(".")[0] in keys):
        return UserError(f"{typed}: write {key}={value}.")
    if group := next(iter(_groups_with(key)), None):
        return UserError(f"{typed}: write {group}={key}.")
    if value or word.startswith("-"):
        near = did_you_mean(key, [*keys, *ALIASES])
        return UserError(f"{typed} is neither an option nor an override such as optim.lr=1e-3: {near}")
    return UserError(f"{typed} is no override: write KEY=VALUE, such as model=cunet or optim.lr=1e-3.")


def _listed(argument: str) -> str:
    key, _, value = argument.partition("=")
    if value in ("", "null") or value.startswith("["):
        return argument
    return f"{key}=[{','.join(quoted(part.strip(QUOTES)) for part in value.split(','))}]"


def _groups_with(choice: str) -> Iterator[str]:
    """Yield the groups of the configuration that have a file of this name."""
    for file in sorted(conf_folder().glob(f"*/{choice}.yaml")) if re.fullmatch(r"\w+", choice) else ():
        yield file.parent.name


def _alias(key: str, keys: Iterable[str]) -> str | None:
    """Return the key that another name means, if the command has it."""
    meant = ALIASES.get(key)
    return meant if meant and meant.partition(".")[0] in keys and key not in keys else None


def _check_key(word: str, keys: tuple[str, ...]) -> None:
    key, value = key_of(word), word.partition("=")[2]
    if meant := _alias(key, keys):
        raise UserError(f"Unknown key {key}: did you mean {meant}?")
    if key == "data" and re.search(r"[/~\\]", value) and not value.startswith(_STRUCTURED):
        raise UserError(f"{word}: data chooses how photographs are read; did you mean data.root={value}?")


def _quoted_if_needed(word: str, multirun: bool) -> str:
    """Quote the value of an override if Hydra could not read it, or would not read a text as a text."""
    key, _, value = word.partition("=")
    text = key_of(word) in TEXT_KEYS
    if not value or value.startswith(_STRUCTURED) or "${" in value or value == "null":
        return word
    if text and multirun and "," in value and not Path(value).expanduser().exists():
        return word
    if not text and re.fullmatch(r"[\w./,:+-]*", value, re.ASCII):
        return word
    try:
        read = OverridesParser.create().parse_override(word).value()
    except HydraException:
        return f"{key}={quoted(value)}"
    return word if not text or read == value else f"{key}={quoted(value)}"
