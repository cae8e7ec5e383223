"""Exceptions that are not defects: mistakes of the user, and reasons to stop early; and how they are printed."""

import difflib
import logging
import re
import signal
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A request that cannot be carried out; the message says what is wrong and what to type instead.

    Commands print the message without a traceback and exit with code 2.
    """


class Stopped(Exception):
    """A run with a correct configuration that cannot go on; the message says why, and how to continue.

    Commands print the message without a traceback and exit with code 1.
    """


class Pruned(Exception):
    """A search stopped a run because others were better at the same epoch."""


class Interrupted(SystemExit):
    """A signal asked the process to stop; its exit code is 128 plus the signal's number, as in a shell.

    Attributes:
        reason: the signal's name, for a sentence.
        printed: whether the command has already printed the reason.
    """

    printed = False

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.number,)  # a launcher's process sends it to the command


class Preempted(Interrupted):
    """SLURM is about to end the process; it stops as after SIGTERM."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)
        self.reason = "SLURM took the machine; saved and queued again"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def sentence_of(error: Exception) -> str:
    """Return an exception's message, without the traceback that a DataLoader's worker adds to it."""
    text = str(error)
    worker = re.match(r"Caught (\w+) in DataLoader worker", text)
    return text.rpartition(f"{worker[1]}: ")[2].strip() if worker else text


def reason_of(error: Exception) -> str:
    """Return the message of an exception as one line, or the name of its class if it has no message."""
    return re.sub(r"\s+", " ", sentence_of(error)).strip() or type(error).__name__


def printable(text: str | Path) -> str:
    """Return a path or text of unknown origin for one line.

    Line breaks, control characters, which a terminal obeys, and undecodable bytes are escaped.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


class PrintableFormatter(logging.Formatter):
    """Formats messages of the log without control characters, which file names may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def how_to_install(extra: str) -> str:
    """Return the command that installs the packages of one of colorlab's extras; colorlab itself is in no registry."""
    wanted = [text for text in requires("colorlab") or [] if re.search(rf"extra == ['\"]{extra}['\"]", text)]
    return " ".join(["pip install", *(re.split(r"[^\w.-]", text)[0] for text in wanted)])


def nearest(word: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """Return the known word that is most like a word; None if none is at least this similar, from 0 to 1."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=similarity)), None)


def did_you_mean(word: str, known: Iterable[str], prefix: str = "", few: bool = False) -> str:
    """Return the end of a sentence about an unknown word: the closest known word, or all known words.

    Args:
        word: the unknown word.
        known: the words to choose from.
        prefix: is put before the suggestion.
        few: there are few known words: list them after the suggestion, too.
    """
    known = sorted(known)
    if not known:
        return "there are none."
    near = nearest(word, known)
    choices = f"choose from: {', '.join(known)}."
    return (f"did you mean {prefix}{near}?" + f" Else {choices}" * few) if near else choices
