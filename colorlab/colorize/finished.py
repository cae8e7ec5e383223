"""The results that calls of the command have written, so that a call that was stopped can be repeated and goes on.

They are recorded in the user's cache folder, and the folder of the results holds results only.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from platformdirs import user_cache_path

DAYS_KEPT = 90
"""A record that was not added to for as long is removed."""


class Finished:
    """Records which results this command has written into a folder, from which files and how.

    A file of another origin, or one that was changed since, is none of them: its size or its time differs.

    Args:
        out: the folder of the results, or the file of a single one.
        fingerprint_of: returns all that a result depends on, by its source.
    """

    def __init__(self, out: Path, fingerprint_of: Callable[[Path], str]) -> None:
        self.fingerprint_of = fingerprint_of
        self.skipped: list[Path] = []  # the targets that were finished before
        folder = user_cache_path("colorlab") / "colored"
        self._file = folder / f"{hashlib.blake2b(os.fsencode(out.resolve()), digest_size=12).hexdigest()}.jsonl"
        self._read_until, self._entries, self._reading = 0, set[tuple](), Lock()
        with suppress(OSError):
            for other in folder.glob("*.jsonl"):
                if time.time() - other.stat().st_mtime > DAYS_KEPT * 86_400:
                    other.unlink()

    def holds(self, target: Path, source: Path) -> bool:
        """Return whether the target is what coloring the source would give, and count it as skipped if so."""
        with suppress(OSError):
            self._read()
            if self._entry(target, target, source) in self._entries:
                self.skipped.append(target)
                return True
        return False

    def note(self, target: Path, source: Path, part: Path) -> None:
        """Record a result that is complete in the file `part`, immediately before it is renamed to `target`."""
        with suppress(OSError):  # without a record the command only asks more often
            self._file.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps(self._entry(target, part, source)) + "\n"
            with self._file.open("ab", buffering=0) as file:  # one write, which other processes do not cut in two
                file.write(line.encode())

    def _entry(self, target: Path, result: Path, source: Path) -> tuple:
        status = result.stat()
        return str(target.resolve()), self.fingerprint_of(source), status.st_size, status.st_mtime_ns

    def _read(self) -> None:
        """Read what was added to the record; threads that ask meanwhile wait until it is read."""
        with self._reading, self._file.open("rb") as file:
            file.seek(self._read_until)
            content = file.read()
            complete = content[: content.rfind(b"\n") + 1]
            for line in complete.splitlines():
                with suppress(ValueError, TypeError):  # the process was killed when it wrote the line
                    self._entries.add(tuple(json.loads(line)))
            self._read_until += len(complete)
