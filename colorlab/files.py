"""Write files that are either complete or absent, and read small ones. Imports nothing heavy."""

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from colorlab.errors import UserError, printable
from colorlab.process.alive import is_alive

FORMULA_SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How formulas begin in spreadsheets, the last four in full width. Tabs and line breaks are escaped before."""

LARGEST = 2**26
"""Bytes of the largest JSON file or table that is read: ours are far smaller, and larger ones could fill the memory."""

log = logging.getLogger(__name__)


class ExistsAlready(FileExistsError):
    """Another process has written the file that was to be new."""


@contextmanager
def atomic_path(file: Path, shared: bool = False, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `file` when the block succeeds, and is removed when it fails.

    If the process is killed or the disk is full, `file` stays as it was.

    Args:
        file: the file to write; its folder is created.
        shared: several processes may write the file at once; the last one wins.
        new: a file that another process has written meanwhile is not replaced.

    Raises:
        ExistsAlready: with `new`, another process has written the file.
        OSError: the file cannot be written; the error names it.
    """
    part = file.with_name(f"{file.name}.{_mark()}-{secrets.token_hex(4)}.part" if shared else f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if new:
            _rename_unless_exists(part, file)
        else:
            part.replace(file)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk
            with suppress(AttributeError):  # PyAV's errors have a read-only file name
                error.filename = str(file)
        raise


def _rename_unless_exists(part: Path, file: Path) -> None:
    exists = ExistsAlready(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
    try:
        os.link(part, file)
        part.unlink()
    except FileExistsError:
        raise exists from None
    except OSError:  # this file system has no hard links
        if os.path.lexists(file):
            raise exists from None
        part.replace(file)


def _mark() -> str:
    """Return what names this process among all that write to a file system."""
    return f"{hashlib.blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()}-{os.getpid()}"


def remove_dead_parts(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine have left in a folder."""
    here = _mark().partition("-")[0]
    for part in folder.glob("*.part"):
        process = re.search(rf"\.{here}-(\d+)-[0-9a-f]{{8}}\.part$", part.name)
        if process and not is_alive(int(process[1])):
            with suppress(OSError):  # another user's
                part.unlink()


def write_text(file: Path, content: str, shared: bool = False) -> None:
    """Write a text in UTF-8, atomically."""
    with atomic_path(file, shared) as part:
        part.write_text(content, encoding="utf-8")


def copy_file(source: Path, file: Path) -> None:
    """Copy `source` to `file`, atomically; several processes may do so at once."""
    with atomic_path(file, shared=True) as part:
        shutil.copyfile(source, part)


def crc32_of(file: Path) -> str:
    """Return the CRC-32 of a file in hexadecimal; 100 MB take about 0.05 s."""
    found = 0
    with file.open("rb") as content:
        while chunk := content.read(2**22):
            found = zlib.crc32(chunk, found)
    return f"{found:08x}"


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as indented JSON, atomically."""
    write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """Return the dictionary in a JSON file; None if the file is missing.

    Raises:
        UserError: the file does not hold a JSON object.
    """
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file} cannot be read: it has more than {LARGEST // 2**20} MiB.")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold a JSON object.")
    return content


def spreadsheet_cell(value: Any) -> Any:
    """Return a value for a CSV file; no spreadsheet takes a text for a formula, and no terminal for a command.

    Texts that begin as formulas do get a quotation mark in front, unless they are numbers.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA_SIGNS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def optional_file(file: Path) -> Iterator[None]:
    """Turn a failure to write a file that a run can do without into a warning."""
    try:
        yield
    except OSError as error:
        log.warning("%s cannot be written (%s): the run goes on without it.", file, error.strerror or error)


def natural_key(name: str | Path) -> list[tuple[int, str]]:
    """Return a sort key that compares digits as numbers: 9_cunet comes before 10_cunet."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", str(name))]


def relative(path: str | Path) -> str:
    """Return a path relative to the working folder, as a person would type it."""
    return os.path.relpath(path)
