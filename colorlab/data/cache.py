"""A cache of decoded photographs: one file on disk, read by all epochs, runs and processes."""

import contextlib
import glob
import hashlib
import logging
import mmap
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from colorlab.data.photographs import GRAY, Photographs, Reading
from colorlab.data.record_file import EMPTY, RecordFile, finish, is_in_use, reserve, size_of, write_record
from colorlab.data.splits import FileNames, Root, fingerprint
from colorlab.errors import UserError
from colorlab.files import atomic_path

FORMAT = 1
"""Version of the decoded bytes; raise it when the same photograph decodes to other bytes."""
LAYOUT = 2
"""Version of the cache's file; raise it when its records or its table change."""
UNREAD, COLORFUL, COLORLESS, UNREADABLE = range(EMPTY, 4)

log = logging.getLogger(__name__)


class DiskCache:
    """Decoded photographs in one file, built before its first use.

    The file is a `RecordFile` of pictures, [size, size, 3] uint8; an unreadable photograph has the reason in place of
    its picture. A photograph whose reading failed for a transient reason, such as a disk that does not answer, stays
    UNREAD: it is read again each time. So is one whose record is damaged, and the record is repaired. A file without
    its end, or with other states, is built again. The checksum costs 0.04 ms a picture of 256², in the first epoch.

    The file's name contains the folder, the size and a fingerprint of the photographs. A change of any of them makes a
    new file, and removes the old one unless another process uses it. While one process builds, others wait.

    Args:
        root: where the photographs are.
        names: all photographs in it.
        size: side of the pictures, in pixels.
        folder: where the file goes; None is the user's cache folder.
    """

    def __init__(self, root: Root, names: FileNames, size: int, folder: Path | None = None) -> None:
        self.root, self.names, self.size = root, names, size
        self.folder = folder or user_cache_path("colorlab") / "pictures"
        self.length = 3 * size**2
        self._file: RecordFile | None = None
        self._part: Path | None = None  # the file while it is built
        self._warned = mmap.mmap(-1, 1)  # whether a process has reported damage; forked workers share it

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_warned"}

    def __setstate__(self, state: dict) -> None:  # in a worker that is not forked
        self.__dict__.update(state, _warned=mmap.mmap(-1, 1))

    def open(self, workers: int) -> None:
        """Open the file, and build it first with this many workers if it is missing or damaged.

        Raises:
            UserError: the folder cannot be used, or has too little space.
        """
        if self._file is not None:
            return
        root = self.root.resolve() if isinstance(self.root, Path) else Path(os.path.abspath(str(self.root)))
        place = hashlib.blake2b(os.fsencode(root), digest_size=6).hexdigest()
        stem = f"{root.name}-{self.size}-{place}"
        path = self.folder / f"{stem}-{fingerprint(self.root, self.names, self.size, FORMAT, LAYOUT)}.pictures"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{stem}.lock"):
                self._file = self._opened(path)
                if self._file is None:
                    self._remove_outdated(stem)
                    self._build(path, workers)
                    self._file = RecordFile(path, len(self.names), self.length)
        except (OSError, ValueError) as error:
            raise UserError(
                f"data.cache=disk cannot use {self.folder} ({error}): take another data.cache_dir=…"
            ) from error

    def reading(self, row: int, read: Callable[[], Reading]) -> Reading:
        """Return what is cached of the photograph in this row, or else what `read` returns; a build keeps it."""
        if self._part is not None:
            reading = read()
            if not reading.transient:
                write_record(self._part, len(self.names), row, *self._record_of(reading))
            return reading
        if self._file is None:
            raise RuntimeError("DiskCache.open must be called first")
        state = self._file.states[row]
        if state == UNREAD:
            return read()
        picture = self._file.read(row)
        if picture is None:
            return self._repaired(row, read())
        if state == UNREADABLE:
            return Reading(None, picture.tobytes().rstrip(b"\0").decode(errors="ignore"))
        rgb = torch.from_numpy(picture.reshape(self.size, self.size, 3)).permute(2, 0, 1)
        return Reading(rgb, GRAY if state == COLORLESS else "")

    def _record_of(self, reading: Reading) -> tuple[int, bytes]:
        """Return the state and the record of what was read of a photograph."""
        if reading.rgb is None:
            return UNREADABLE, reading.reason.encode()[: self.length].ljust(self.length, b"\0")
        return COLORLESS if reading.reason == GRAY else COLORFUL, reading.rgb.permute(1, 2, 0).numpy().tobytes()

    def _repaired(self, row: int, reading: Reading) -> Reading:
        """Write the record of a photograph again, whose cached picture is damaged; report it once."""
        assert self._file is not None
        if not self._warned[0]:
            self._warned[0] = 1
            log.warning("%s is damaged: its damaged pictures are read again from the photographs.", self._file.path)
        if not reading.transient:
            with contextlib.suppress(OSError):  # it is read again the next time
                self._file.restore(row, self._record_of(reading)[1])
        return reading

    def _opened(self, path: Path) -> RecordFile | None:
        """Return the file; None if it is missing, or damaged, which is reported."""
        try:
            return RecordFile(path, len(self.names), self.length)
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("%s is damaged (%s): it is built again.", path, error)
            return None

    def _remove_outdated(self, stem: str) -> None:
        """Remove files of the same folder and size: outdated ones, and parts left by a killed build."""
        for other in self.folder.glob(f"{glob.escape(stem)}-*"):
            if not is_in_use(other):
                with contextlib.suppress(PermissionError):  # on Windows, another process has it open
                    other.unlink()

    def _build(self, path: Path, workers: int) -> None:
        count, needed = len(self.names), size_of(len(self.names), self.length)
        if needed > (free := shutil.disk_usage(self.folder).free):
            raise UserError(
                f"data.cache=disk needs {_gib(needed)}, and {self.folder} has {_gib(free)} left:"
                " take another data.cache_dir=…, or a smaller data.size."
            )
        try:
            with atomic_path(path) as self._part:
                reserve(self._part, count, self.length)
                filling = DataLoader(_Filling(self), batch_size=16, num_workers=workers)
                for _ in track(filling, f"Keeping {count} photographs at {self.size}²", transient=True):
                    pass
                finish(self._part, count, self.length)
        finally:
            self._part = None


class CachedPhotographs(Photographs):
    """Photographs that are read from a cache.

    Args:
        cache: holds these photographs, perhaps among others.
        names, fill: as in `Photographs`.
    """

    def __init__(self, cache: DiskCache, names: Iterable[str], fill: bool) -> None:
        super().__init__(cache.root, names, cache.size, fill)
        rows = {name: row for row, name in enumerate(cache.names)}
        self.cache, self.rows = cache, np.array([rows[name] for name in self.names], dtype=np.int64)

    def look(self, index: int) -> Reading:
        """Return what the cache holds of the picture at `index`; it was checked for color when it was cached."""
        return self.cache.reading(int(self.rows[index]), lambda: super(CachedPhotographs, self).look(index))


class _Filling(Dataset[int]):
    """A dataset that fills the cache as it is iterated over."""

    def __init__(self, cache: DiskCache) -> None:
        self.photographs = CachedPhotographs(cache, cache.names, fill=False)

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> int:
        self.photographs.look(index)
        return index


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
