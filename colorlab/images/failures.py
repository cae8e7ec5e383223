"""Why a picture or film file could not be processed, in words for its owner."""

import errno
import struct

import torch

from colorlab.errors import UserError, reason_of


def explain_failure(error: Exception) -> str:
    """Return why a file could not be read or written, as the end of a sentence without its full stop."""
    if isinstance(error, UserError):
        return str(error).removesuffix(".")
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left to write its result"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "there is not enough memory"
    is_damage = isinstance(error, EOFError | SyntaxError | struct.error) or type(error).__name__ == "InvalidDataError"
    if is_damage:  # InvalidDataError is PyAV's, which may not be installed
        return "it is truncated or damaged"
    if isinstance(error, OSError):  # without an error number of the system, a decoder has raised it
        return error.strerror[0].lower() + error.strerror[1:] if error.strerror else "it is truncated or damaged"
    return f"it cannot be read ({reason_of(error)})"
