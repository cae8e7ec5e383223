"""Ask a running training for a decay of its rates, by a file in its folder. Imports nothing heavy."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.status import is_gone


def request_decay(folder: RunFolder) -> None:
    """Leave a request that the callback PlateauDecay takes at the end of the epoch.

    Raises:
        UserError: the folder holds no run, the run is not running, or it has no plateau callback.
    """
    if not folder.config.is_file():
        raise UserError(f"{folder.path} is not the folder of a run (it has no config.yaml).")
    if not folder.settings("callbacks").get("plateau"):
        raise UserError(f"The run in {folder.path} has no plateau callback to ask.")
    status = folder.status() or {}
    if status.get("status") != "running" or is_gone(status):
        how = "was killed" if status.get("status") == "running" else status.get("status", "has no status")
        raise UserError(f"The run in {folder.path} is not running ({how}): only a training that runs can be asked.")
    folder.decay_request.touch()


def take_decay_request(folder: RunFolder) -> bool:
    """Remove the request; return whether there was one."""
    requested = folder.decay_request.exists()
    folder.decay_request.unlink(missing_ok=True)
    return requested


def drop_stale_request(folder: RunFolder) -> None:
    """Remove a request that no training was there to take; call it before the run's status says that it runs again.

    A request from before an interruption stays: an uninterrupted run would have obeyed it at the end of the epoch.
    """
    if not folder.decay_request.exists():
        return
    status: dict[str, Any] = {}
    with suppress(UserError):  # a status that cannot be read says nothing
        status = folder.status() or {}
    if status.get("status") not in ("running", "interrupted") or _ended_before_request(folder, status):
        folder.decay_request.unlink(missing_ok=True)


def _ended_before_request(folder: RunFolder, status: dict[str, Any]) -> bool:
    try:
        ended = datetime.fromisoformat(status["ended"]).timestamp()  # whole seconds
    except (KeyError, TypeError, ValueError):  # it was killed
        return False
    return folder.decay_request.stat().st_mtime >= ended
