"""The exceptions that mean no defect: a message for the person at the keyboard, and reasons to stop early."""

import difflib
import re
import signal
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something the user asked for cannot be done; the message says what was wrong and what to do.

    Commands print the message alone and exit with code 2: no traceback.
    """


class Stopped(Exception):
    """A run that was right to begin cannot go on; the message says why, and how it can.

    Commands print the message alone and exit with code 1: no traceback.
    """


class Pruned(Exception):
    """A search has seen enough of a run: others were better at the same epoch."""


class Interrupted(SystemExit):
    """A signal asked this process to leave; its exit code is the one that shells know such an end by."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class Preempted(Interrupted):
    """SLURM will end this process; it leaves as after SIGTERM."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)
        self.reason = "SLURM took the machine; saved and queued again"


def sentence_of(error: Exception) -> str:
    """What an exception says; of one that a DataLoader's worker raised, without the worker's traceback."""
    text = str(error)
    worker = re.match(r"Caught (\w+) in DataLoader worker", text)
    return text.rpartition(f"{worker[1]}: ")[2].strip() if worker else text


def reason_of(error: Exception) -> str:
    """Return the message of an exception as one line, or the name of its class if it has no message."""
    return re.sub(r"\s+", " ", sentence_of(error)).strip() or type(error).__name__


def printable(path: str | Path) -> str:
    """Return a path for one line of text: line breaks and undecodable bytes are escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(path))


def did_you_mean(word: str, known: Iterable[str], prefix: str = "", few: bool = False) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them; both if they are few."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    choices = f"choose from: {', '.join(known)}."
    return (f"did you mean {prefix}{near[0]}?" + f" Else {choices}" * few) if near else choices
