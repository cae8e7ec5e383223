"""Files that appear when they are whole. Imports nothing heavy."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(file: Path, shared: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the file's place when all went well, and is gone when not.

    Who is killed meanwhile, or runs out of room, leaves the file as it was before.

    Args:
        file: the place; its folder is made.
        shared: several processes may write the file at once: the last one's stays.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part" if shared else f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(file)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as of a full disk
            with suppress(AttributeError):  # of PyAV, which has errors of its own
                error.filename = str(file)
        raise


def write_whole(file: Path, content: str, shared: bool = False) -> None:
    """Write a text, in UTF-8."""
    with whole(file, shared) as part:
        part.write_text(content, encoding="utf-8")
