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
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from colorlab import __version__, plugins
from colorlab.config import conf_folder
from colorlab.config.help import help_of
from colorlab.config.hydra_files import read_user_files_as_data
from colorlab.config.words import as_hydra_takes, as_typed, key_of, only_prints
from colorlab.errors import (
    Interrupted,
    Stopped,
    UserError,
    did_you_mean,
    how_to_install,
    nearest,
    printable,
    sentence_of,
)
from colorlab.files import relative
from colorlab.process.home import take_home
from colorlab.process.new_folders import remove_unused_folders
from colorlab.process.open_files import enough_open_files, raise_limit
from colorlab.process.ranks import is_first_process
from colorlab.process.screen import essential_output, take_screens
from colorlab.process.signals import stopping_on_signals

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}
"""Launchers from separate packages, and the extra that installs each."""
VERSION = f"colorlab {__version__}"
"""What `--version` prints."""

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
    raise_limit()
    try:
        take_home()
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
            return job(cfg)
        except (UserError, Stopped) as error:
            leave(error)  # if it reached Hydra, Hydra would print a line of its own first

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through as they are
    with reporting(keys, output_is_result=only_prints(sys.argv[1:])), ExitStack() as at_end:
        at_end.callback(remove_unused_folders)
        if answer := _asked(name, sys.argv[1:], keys):
            print(answer)
            return
        try:
            sys.argv[1:] = as_hydra_takes(plugins.take_typed(sys.argv[1:]), keys)
            read_user_files_as_data()
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=name)(task)()
        except (HydraException, OmegaConfBaseException):
            raise
        except (ValueError, TypeError, AssertionError) as error:
            _leave_if_unwritable(error.__cause__)  # logging wraps the OSError in a ValueError
            if composed:
                raise
            leave(UserError(_misplaced(sys.argv[1:], error)))


def _asked(name: str, words: list[str], keys: tuple[str, ...]) -> str | None:
    """Return what `--help`, `-h` or `--version` asks for; Hydra would answer with its own."""
    if any(word == "-h" or (len(word) > 3 and "--help".startswith(word)) for word in words):
        plugins.take_typed(words)
        return help_of(name, keys)
    return VERSION if any(len(word) > 2 and "--version".startswith(word) for word in words) else None


def _leave_if_unwritable(error: BaseException | None) -> None:
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        leave(UserError(f"{error.filename or 'A file'} cannot be written ({error.strerror}): take another folder."))


class Parser(argparse.ArgumentParser):
    """A parser of a command without Hydra: a mistake ends in one sentence and exit code 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument("--version", action="version", version=VERSION)

    def error(self, message: str) -> NoReturn:
        raise UserError(self._sentence(message))

    def _sentence(self, message: str) -> str:
        if unknown := re.match(r"unrecognized arguments: (\S+)", message):
            word = unknown[1].partition("=")[0]
            near = nearest(word, re.findall(r"--[\w-]+", self.format_usage()))
            return f"{unknown[1]} is no option: {f'did you mean {near}?' if near else '--help lists them.'}"
        if missing := re.match(r"the following arguments are required: (.*)", message):
            verb = "are" if "," in missing[1] else "is"
            return f"{missing[1]} {verb} missing: --help shows how the command is used."
        if choice := re.match(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            choices = re.findall(r"[^\s,']+", choice[3])
            option = choice[1].partition("/")[0]
            return f"{option} {choice[2]} does not exist: {did_you_mean(choice[2], choices, few=True)}"
        if number := re.match(r"argument (\S+): invalid (int|float) value: '(.*)'", message):
            kind = "a whole number" if number[2] == "int" else "a number"
            return f"{number[1].partition('/')[0]} {number[3]} must be {kind}."
        return message.removeprefix("argument ").rstrip(".") + "."


def parse_arguments(parser: Parser) -> argparse.Namespace:
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


def python_command() -> str:
    """Return what starts this Python: "python" if the environment is activated, else a path."""
    found = shutil.which("python")
    return "python" if found and Path(found).parent == Path(sys.executable).parent else relative(sys.executable)


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
            return f"{group}={choice} is not installed: {how_to_install(EXTRAS[choice])}."
        return f"{group}={choice} does not exist: {did_you_mean(choice, error.options, group + '=', few=True)}"
    text = sentence_of(error)
    if isinstance(error, OverrideParseException):
        return f"{as_typed(error.override)} cannot be read: a bracket or a quote in it has no partner."
    if several := re.match(r"Ambiguous value for argument '(.*)'", text):
        return f"{as_typed(several[1])} names several values: add -m to run once for each of them."
    if missing := re.match(r"In '\w+': Could not (?:load|find) '(\w+)/(\w+)'", text):
        choices = [file.stem for file in (conf_folder() / missing[1]).glob("*.yaml")]
        return f"{missing[1]}={missing[2]} does not exist: {did_you_mean(missing[2], choices, few=True)}"
    if unknown := re.match(r"Could not override '(?:\S+?@)?(\w+)'", text):
        if inner := re.search(r"full_key: (\w+\.\S+)", str(error.__cause__)):  # of a group as a node
            return f"Unknown key {inner[1]}: type the keys of a group one by one, {inner[1]}=…."
        return f"Unknown key {unknown[1]}: {did_you_mean(unknown[1], [*keys, 'experiment'])}"
    return text.splitlines()[0]
