"""Whether another process of this machine still runs. Imports nothing heavy."""

import os


def is_alive(process_id: int) -> bool:
    """Return whether a process of this machine runs; on Windows, where it cannot be asked safely, True.

    There, `os.kill` with 0 would send Ctrl-C to the process.
    """
    if os.name == "nt":
        return True
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):  # the number is larger than any process has
        return False
    except OSError:  # another user's process
        return True
    return True
