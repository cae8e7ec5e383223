"""Sign the files that a user's runs write, so that later commands recognize them as the user's own.

The signature is a keyed digest in a file's last line. The key is a secret in the user's state folder, so nobody else
can sign a file. A folder that is moved stays signed, and so does one on a home that several machines share. Without a
place for a key that only the user can read, no file is signed: what they hold then has to be typed. Imports nothing
heavy.
"""

import hashlib
import hmac
import os
import secrets
import sys
from functools import cache
from pathlib import Path

_MARK = "# recorded by "
_SIZE = 32


def sealed(text: str) -> str:
    """Return a YAML text with a last line that holds its digest; without a key, the text as it is."""
    key = _key(make=True)
    return text if key is None else f"{text}{_MARK}{_digest(key, text)}\n"


def is_sealed(file: Path) -> bool:
    """Return whether a file is as a program of this user has written it."""
    key = _key(make=False)
    if key is None:
        return False
    try:
        text, mark, digest = file.read_text(encoding="utf-8").rpartition(_MARK)
    except (OSError, ValueError):
        return False
    return bool(mark) and hmac.compare_digest(digest.strip().encode(), _digest(key, text).encode())


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """Return the user's secret; None if there is none, and it shall not or cannot be made."""
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "colorlab"
        file = folder / "key"
        if (key := _read(file)) is None and make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(file)
            key = _read(file)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return key


def _read(file: Path) -> bytes | None:
    """Return the secret; None if it is missing, damaged, or open to other users."""
    if not file.is_file() or _is_open(file):
        return None
    key = file.read_bytes()
    return key if len(key) == _SIZE else None


def _is_open(file: Path) -> bool:
    """Return whether other users may read or change a file; Windows does not say so in its mode."""
    return hasattr(os, "getuid") and bool(file.stat().st_mode & 0o077)


def _make(file: Path) -> None:
    """Write a new secret, which only the user can read; of several processes, the first one's stays.

    Where no file can be hidden from other users, as on exFAT or CIFS, none is left.
    """
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            new.write(secrets.token_bytes(_SIZE))
        if _is_open(part):
            _say_unsafe(file.parent)
            return
        try:
            os.link(part, file)
        except OSError:  # another process was first, the old one is damaged, or there are no hard links here
            if _read(file) is None:
                part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@cache
def _say_unsafe(folder: Path) -> None:
    """Say once in a process that runs are not sealed, and what helps."""
    print(
        f"colorlab: Files in {folder} can be read by other users, so that this run's overrides cannot be signed as"
        " yours: to resume it without typing paths again, set XDG_STATE_HOME to a private folder.",
        file=sys.stderr,
    )
