"""A run's status: running, or how it ended, in a file that outlives the process. Imports nothing heavy."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from colorlab.errors import Pruned, Stopped, UserError, reason_of
from colorlab.files import optional_file
from colorlab.process.alive import is_alive
from colorlab.process.ranks import is_first_process
from colorlab.runs.folder import RunFolder


class Status:
    """Keeps a run's `status.json` up to date.

        status       running, done, failed, interrupted (Ctrl-C, a signal) or pruned (by a search)
        reason       one line on why it did not end well
        error        class of the exception; UserError means that a corrected command will work
        started, ended, host, pid, command, overrides

    A process killed with -9 cannot write: its run stays `running`, with the `host` and `pid` to look for.

    Args:
        folder: the run's folder.
        command: what to type to train this run.
        overrides: the overrides in it, which a resume repeats.
    """

    def __init__(self, folder: RunFolder, command: str, overrides: list[str]) -> None:
        self.folder, self.command, self.overrides = folder, command, overrides
        self.begun = False
        self._facts: dict[str, Any] = {
            "status": "running", "reason": None, "error": None, "started": _now(), "ended": None,
            "host": socket.gethostname(), "pid": os.getpid(), "command": command,
        }  # fmt: skip

    def begin(self) -> None:
        """Write that the run has begun; call it only when its whole configuration is checked."""
        self.begun = True
        self._write()

    def add_overrides(self, *overrides: str) -> None:
        """Add overrides that a resume must repeat, for values found while the run was prepared."""
        self.overrides = [*self.overrides, *overrides]

    def end(self, status: str, error: str | None = None, reason: str | None = None) -> None:
        """Write how the run ended; a full disk is only logged."""
        self._facts |= {"status": status, "error": error, "reason": reason, "ended": _now()}
        with optional_file(self.folder.path):
            self._write()

    def _write(self) -> None:
        if is_first_process():
            self.folder.write_status({**self._facts, "overrides": self.overrides})

    @contextmanager
    def kept(self, in_sweep: bool) -> Iterator[None]:
        """Write at the end of the block how the run ended; exceptions pass through.

        Args:
            in_sweep: whether the run is a job of a sweep, which reports its status at the end. Outside one, a run
                that fails before it begins leaves the status of an earlier run in the folder alone, and one that is
                refused writes none.
        """
        try:
            yield
        except Pruned as error:
            self.end("pruned", "Pruned", str(error))
            raise
        except Exception as error:
            if (exit_requested := _system_exit_before(error)) is not None:
                self._end(in_sweep, "interrupted", exit_requested, f"failed while stopping: {one_line(error)}")
                raise exit_requested from error
            self._end(in_sweep, "failed", error, one_line(error))
            raise
        except BaseException as error:
            name = type(error).__name__
            reason = "Ctrl-C" if name == "KeyboardInterrupt" else getattr(error, "reason", name)
            self._end(in_sweep, "interrupted", error, reason)
            raise
        self.end("done")

    def _end(self, in_sweep: bool, status: str, error: BaseException, reason: str) -> None:
        alone = not isinstance(error, UserError) and not self.folder.status_file.exists()
        if self.begun or in_sweep or alone:
            self.end(status, type(error).__name__, reason)


def is_gone(status: dict[str, Any]) -> bool:
    """Return whether a run's process on this machine has ended; processes elsewhere cannot be checked."""
    is_here = status.get("host") == socket.gethostname() and isinstance(status.get("pid"), int)
    return is_here and not is_alive(status["pid"])


def _system_exit_before(error: BaseException) -> SystemExit | None:
    """Return the SystemExit during whose handling an exception was raised, as by a data worker that ends first."""
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
