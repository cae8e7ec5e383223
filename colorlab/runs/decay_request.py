"""Ask a running training for a decay of its rates, by a file in its folder. Imports nothing heavy."""

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder


def request_decay(folder: RunFolder) -> None:
    """Leave a request that the callback PlateauDecay takes at the end of the epoch.

    Raises:
        UserError: the folder holds no run, or the run has no plateau callback.
    """
    if not folder.config.is_file():
        raise UserError(f"{folder.path} is not the folder of a run (it has no config.yaml).")
    if not folder.settings("callbacks").get("plateau"):
        raise UserError(f"The run in {folder.path} has no plateau callback to ask.")
    folder.decay_request.touch()


def take_decay_request(folder: RunFolder) -> bool:
    """Remove the request; return whether there was one."""
    requested = folder.decay_request.exists()
    folder.decay_request.unlink(missing_ok=True)
    return requested
