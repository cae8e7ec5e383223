"""What all commands share: from the words typed to the call of the job, and every mistake in one sentence."""

import argparse
import errno
import functools
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from colorlab import plugins
from colorlab.config import conf_folder
from colorlab.config.hydra_files import read_user_files_as_data
from colorlab.errors import Interrupted, Stopped, UserError, did_you_mean, printable, sentence_of
from colorlab.files import relative
from colorlab.process.home import take_home
from colorlab.process.new_folders import remove_unused_folders
from colorlab.process.open_files import enough_open_files, raise_limit
from colorlab.process.ranks import is_first_process
from colorlab.process.screen import essential_output, take_screens
from colorlab.process.signals import stopping_on_signals

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}
"""Launchers from separate packages, and the extra that installs each."""
_DOTTED = re.compile(r"(?!hydra\.)\w+(\.\w+)+=")
_NODE = re.compile(r"\w+=\{.*\b_target_\b", re.DOTALL)
_NODES = re.compile(_DOTTED.pattern + r"\[.*\b_target_\b", re.DOTALL)
QUOTES = "'\""
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


@contextmanager
def reporting(keys: tuple[str, ...] = (), output_is_result: bool = False) -> Iterator[None]:
    """Run a command in the block: whatever ends it, one sentence says so, and the exit code is right.

    A mistake of the user's exits with 2, a run that cannot go on with 1, a signal with 128 plus its number. A command
    outlives its standard streams unless what it prints is its result.

    Args:
        keys: the top level of the command's configuration, to suggest from.
        output_is_result: whether the command is worth nothing without its standard output.
    """
    take_screens()
    take_home()
    raise_limit()
    try:
        with stopping_on_signals(), essential_output(output_is_result), enough_open_files():
            yield
    except (UserError, Stopped, HydraException, OmegaConfBaseException) as error:
        leave(error, keys)
    except Interrupted as stop:
        if not stop.printed and is_first_process():
            print(f"colorlab: {stop.reason}.", file=sys.stderr)
        stop.printed = True
        raise
    except KeyboardInterrupt:  # in a thread other than the main one there is no handler
        print("colorlab: Ctrl-C.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        _leave_if_unwritable(error)
        raise


def run(name: str, job: Callable[[DictConfig], Any], keys: tuple[str, ...]) -> None:
    """Run a Hydra command: compose its configuration from `sys.argv`, and call `job` with it.

    Every mistake of the user's ends in one sentence and exit code 2.

    Args:
        name: of its file in conf/, without the suffix.
        job: what the command does; in a multirun it is called once per job.
        keys: the top level of its configuration, to suggest from.
    """
    composed = False

    @functools.wraps(job)
    def task(cfg: DictConfig) -> Any:
        nonlocal composed
        composed = True
        try:
            plugins.check_environment(HydraConfig.get().job.env_set)
            with essential_output(False):  # what Hydra prints before, as for --help, is all there is
                return job(cfg)
        except (UserError, Stopped) as error:
            leave(error)  # if it reached Hydra, Hydra would print a line of its own first

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through as they are
    with reporting(keys, output_is_result=True), ExitStack() as at_end:
        at_end.callback(remove_unused_folders)
        try:
            sys.argv[1:] = as_hydra_takes(plugins.take_typed(sys.argv[1:]))
            read_user_files_as_data()
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=name)(task)()
        except (HydraException, OmegaConfBaseException):
            raise
        except (ValueError, TypeError, AssertionError) as error:
            _leave_if_unwritable(error.__cause__)  # logging wraps the OSError in a ValueError
            if composed:
                raise
            leave(UserError(_misplaced(sys.argv[1:], error)))


def _leave_if_unwritable(error: BaseException | None) -> None:
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        leave(UserError(f"{error.filename or 'A file'} cannot be written ({error.strerror}): take another folder."))


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse `sys.argv` for a command without Hydra, with the option `--plugins` that all of them have.

    Raises:
        UserError: there is no such package.
    """
    parser.add_argument(
        "--plugins", default=argparse.SUPPRESS, metavar="PACKAGES", help="packages of your own, separated by commas"
    )
    with essential_output():  # of --help
        arguments = parser.parse_args(plugins.take_typed(sys.argv[1:]))
    if "plugins" in arguments:  # shortened, as --plugin: the parser knows it, `take_typed` does not
        plugins.take_typed([f"plugins={vars(arguments).pop('plugins')}"])
    return arguments


def leave(error: Exception, keys: tuple[str, ...] = ()) -> NoReturn:
    """Print one sentence on what was wrong, and exit with code 2; with 1 if a run stopped on the way."""
    print(f"colorlab: {printable(_sentence(error, keys))}", file=sys.stderr)
    sys.exit(1 if isinstance(error, Stopped) else 2)


def key_of(override: str) -> str:
    """Return the key of an override, without its prefix and value."""
    return override.partition("=")[0].lstrip("+~")


def python_command() -> str:
    """Return what starts this Python: "python" if the environment is activated, else a path."""
    found = shutil.which("python")
    return "python" if found and Path(found).parent == Path(sys.executable).parent else relative(sys.executable)


def as_typed(override: str) -> str:
    """Return an override without the `++` that `run` adds."""
    return override.removeprefix("++")


def as_list(arguments: list[str], key: str) -> list[str]:
    """Turn `key=a,b` into a list of texts; Hydra would read it as a sweep."""
    return [_listed(argument) if key_of(argument) == key else argument for argument in arguments]


def as_hydra_takes(arguments: list[str]) -> list[str]:
    """Return the words of a command in the form in which Hydra does what they mean.

    Dotted overrides, and groups as nodes, get the prefix `++`, so that they may name keys that their YAML does not
    list: Hydra cannot know these, but `colorlab.config.check` asks the constructors. A schedule as a node,
    `schedule={_target_:CLASS}`, replaces the chosen file; the keys of one schedule mean nothing to another. In other
    groups, the chosen file's keys stay. A list of nodes, `data.augment=[{_target_:CLASS},…]`, replaces what the file
    has; Hydra would merge them, and cannot merge a list with a node.
    """
    words = []
    for word in arguments:
        if _NODES.match(word):
            words.append(f"++{key_of(word)}=null")
        words.append(f"++{word}" if _DOTTED.match(word) or _NODE.match(word) else word)
    if any(word.startswith("++schedule={") for word in words) and "~schedule" not in words:
        return ["~schedule", *words]
    return words


def quiet_libraries() -> None:
    """Silence messages of the libraries that a user cannot act on."""
    import lightning.pytorch  # noqa: F401 — it sets its logger's level when imported

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.14
        r"The 'val_dataloader' does not have many workers", r"The 'train_dataloader' does not have many workers",
        r"The '(test|predict)_dataloader' does not have many workers", r"predict returned None",
        r"Checkpoint directory .* exists and is not empty", r"The `srun` command is available on your system",
        r"The number of training batches \(\d+\) is smaller than the logging interval",  # we log epochs
        r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen parts
        r"It is recommended to use `self.log\('(speed|optim|train)/",  # the same in each process, or of all of them
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message)


def quoted(value: object) -> str:
    """Return a value as a quoted text of Hydra's grammar, in which a backslash escapes itself only before a quote."""
    text = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + (match[2] and "\\'"), str(value))
    return f"'{text}'"


def _listed(argument: str) -> str:
    key, _, value = argument.partition("=")
    if value in ("", "null") or value.startswith("["):
        return argument
    return f"{key}=[{','.join(quoted(part.strip(QUOTES)) for part in value.split(','))}]"


def _misplaced(arguments: list[str], error: Exception) -> str:
    """Return a sentence for a mistake in the overrides that Hydra reports with an unrelated error."""
    groups = [word for word in arguments if (conf_folder() / key_of(word)).is_dir()]
    for word in groups:
        if re.search(r"=(null|true|false|[\[\]\d., ]*)$", word):
            return f"{word} chooses nothing: a group needs one of its files."
    return f"The overrides do not fit together: {str(error).splitlines()[0]}."


def _sentence(error: Exception, keys: tuple[str, ...]) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if group == "hydra/launcher" and choice in EXTRAS:
            return f"{group}={choice} is not installed: pip install 'colorlab[{EXTRAS[choice]}]'."
        return f"{group}={choice} does not exist: {did_you_mean(choice, error.options, group + '=', few=True)}"
    text = sentence_of(error)
    if unknown := re.match(r"Could not override '(?:\S+?@)?(\w+)'", text):
        if inner := re.search(r"full_key: (\w+\.\S+)", str(error.__cause__)):  # of a group as a node
            return f"Unknown key {inner[1]}: type the keys of a group one by one, {inner[1]}=…."
        return f"Unknown key {unknown[1]}: {did_you_mean(unknown[1], [*keys, 'experiment'])}"
    return text.splitlines()[0]
