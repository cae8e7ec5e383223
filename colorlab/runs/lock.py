"""One process at a time trains in a run's folder. Imports nothing heavy."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from filelock import FileLock, Timeout

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Keep other processes from training in the folder; the system releases the lock of a killed process.

    Raises:
        UserError: another process trains there.
    """
    lock = FileLock(folder.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        status: dict[str, Any] = {}
        with suppress(UserError):  # a damaged file
            status = folder.status() or {}
        running = status.get("status") == "running"
        who = f" (process {status.get('pid')} on {status.get('host')})" if running else ""
        raise UserError(
            f"Another process{who} is training in {folder.path}: wait for it, stop it, or choose another folder,"
            " hydra.run.dir=…"
        ) from None
    except (OSError, NotImplementedError):  # file systems without locks: train unprotected
        pass
    try:
        yield
    finally:
        lock.release()
