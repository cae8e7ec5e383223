"""A run's status: how it stands, in a file that outlives the process. Imports nothing heavy."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from colorlab.errors import Pruned, Stopped, UserError, reason_of
from colorlab.files import optional_file
from colorlab.runs.folder import RunFolder

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


class Status:
    """Keeps a run's `status.json` while the run goes on.

        status       running, done, failed, interrupted (Ctrl-C, a signal) or pruned (by a search)
        reason       one line on why it did not end well
        error        the exception's class; UserError is a mistake that whoever typed the command can mend
        started, ended, host, pid, command, overrides

    A process killed with -9 says nothing more: its run stays `running`, with `host` and `pid` to look for.

    Args:
        folder: the run's folder.
        command: what one types to train this run.
        overrides: the overrides in it.
    """

    def __init__(self, folder: RunFolder, command: str, overrides: list[str]) -> None:
        self.folder = folder
        self.begun = False
        self.facts: dict[str, Any] = {
            "status": "running", "reason": None, "error": None, "started": _now(), "ended": None,
            "host": socket.gethostname(), "pid": os.getpid(), "command": command, "overrides": overrides,
        }  # fmt: skip

    def begin(self) -> None:
        """Say that the run has begun; not before all of its configuration is known to be right."""
        self.begun = True
        self._write()

    def end(self, status: str, error: str | None = None, reason: str | None = None) -> None:
        """Say how it ended."""
        self.facts |= {"status": status, "error": error, "reason": reason, "ended": _now()}
        with optional_file(self.folder.path):
            self._write()

    def _write(self) -> None:
        if is_first_process():
            self.folder.write_status(self.facts)

    @contextmanager
    def kept(self, in_sweep: bool) -> Iterator[None]:
        """Say at the end of the block how it ended; what was raised in it goes on.

        Args:
            in_sweep: outside one, what ends before the run begins leaves the status of an earlier run in
                the same folder alone: a refused resume changes nothing.
        """
        try:
            yield
        except Pruned as error:
            self.end("pruned", "Pruned", str(error))
            raise
        except Exception as error:
            if (left := _left(error)) is not None:
                self._end(in_sweep, "interrupted", left, f"while it was made to leave: {one_line(error)}")
                raise left from error
            self._end(in_sweep, "failed", error, one_line(error))
            raise
        except BaseException as error:
            name = type(error).__name__
            reason = "Ctrl-C" if name == "KeyboardInterrupt" else getattr(error, "reason", name)
            self._end(in_sweep, "interrupted", error, reason)
            raise
        self.end("done")

    def _end(self, in_sweep: bool, status: str, error: BaseException, reason: str) -> None:
        if self.begun or in_sweep or not self.folder.status_file.exists():
            self.end(status, type(error).__name__, reason)


def is_first_process() -> bool:
    """Whether this process is the one, of several that train one model, that writes and speaks."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def _left(error: BaseException) -> SystemExit | None:
    """The SystemExit on whose way out an exception was raised, as by a worker that ends before its master."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, SystemExit):
            return error
    return None


def one_line(error: Exception) -> str:
    """What an exception says, in one line; a programmer's exception with its name."""
    reason, name = reason_of(error), type(error).__name__
    return reason if isinstance(error, UserError | Stopped) or reason == name else f"{name}: {reason}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
