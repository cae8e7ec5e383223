"""A cache of decoded photographs: one file on disk, read by all epochs, runs and processes."""

import contextlib
import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from colorlab.data.photographs import GRAY, Photographs, Reading
from colorlab.data.splits import FileNames, Root, fingerprint
from colorlab.errors import UserError
from colorlab.files import atomic_path

FORMAT = 1
"""Version of the decoded bytes; raise it when the same photograph decodes to other bytes."""
UNREAD, COLORFUL, COLORLESS, UNREADABLE = range(4)


class DiskCache:
    """Decoded photographs in one file, built before its first use and mapped into memory.

    The file holds the state of each photograph, [N] uint8, then the pictures, [N, size, size, 3] uint8;
    an unreadable photograph has the reason in place of its picture. A photograph whose reading failed
    for a transient reason, such as a disk that does not answer, stays UNREAD: it is read again each time.

    The file's name contains the folder, the size and a fingerprint of the photographs. A change of any
    of them makes a new file, which replaces the old one. While one process builds, others wait.

    Args:
        root: where the photographs are.
        names: all photographs in it.
        size: side of the pictures, in pixels.
        folder: where the file goes; None is the user's cache folder.
    """

    def __init__(self, root: Root, names: FileNames, size: int, folder: Path | None = None) -> None:
        self.root, self.names, self.size = root, names, size
        self.folder = folder or user_cache_path("colorlab") / "pictures"
        self.bytes = len(names) * (1 + 3 * size**2)
        self._path: Path | None = None
        self._content: np.memmap | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_content": None}  # a worker that is not forked maps the file itself

    def open(self, workers: int) -> None:
        """Map the file, and build it first with this many workers if it is missing.

        Raises:
            UserError: the folder cannot be used, or has too little space.
        """
        if self._path is not None:
            return
        root = self.root.resolve() if isinstance(self.root, Path) else Path(os.path.abspath(str(self.root)))
        place = hashlib.blake2b(os.fsencode(root), digest_size=6).hexdigest()
        stem = f"{root.name}-{self.size}-{place}"
        path = self.folder / f"{stem}-{fingerprint(self.root, self.names, self.size, FORMAT)}.pictures"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{stem}.lock"):
                if not path.is_file():
                    self._remove_outdated(stem)
                    self._build(path, workers)
        except OSError as error:
            raise UserError(
                f"data.cache=disk cannot use {self.folder} ({error}): take another data.cache_dir=…"
            ) from error
        self._path = path
        self._mapped()

    def reading(self, row: int, read: Callable[[], Reading]) -> Reading:
        """Return what is cached of the photograph in this row, or else what `read` returns; a build keeps it."""
        content = self._mapped()
        states, pictures = content[: len(self.names)], content[len(self.names) :]
        picture = pictures.reshape(len(states), -1)[row]
        if states[row] == UNREAD:
            reading = read()
            if reading.transient or not content.flags.writeable:
                return reading
            if reading.rgb is None:
                text = reading.reason.encode()[: len(picture)]
                picture[:] = np.frombuffer(text.ljust(len(picture), b"\0"), dtype=np.uint8)
                states[row] = UNREADABLE
            else:
                picture[:] = reading.rgb.permute(1, 2, 0).flatten().numpy()
                states[row] = COLORLESS if reading.reason == GRAY else COLORFUL
        if states[row] == UNREADABLE:
            return Reading(None, picture.tobytes().rstrip(b"\0").decode(errors="ignore"))
        rgb = torch.from_numpy(picture.reshape(self.size, self.size, 3).copy()).permute(2, 0, 1)
        return Reading(rgb, GRAY if states[row] == COLORLESS else "")

    def _remove_outdated(self, stem: str) -> None:
        """Remove files of the same folder and size: outdated ones, and parts left by a killed build."""
        for other in self.folder.glob(f"{glob.escape(stem)}-*"):
            with contextlib.suppress(PermissionError):  # on Windows, another process has it open
                other.unlink()

    def _build(self, path: Path, workers: int) -> None:
        if self.bytes > (free := shutil.disk_usage(self.folder).free):
            raise UserError(
                f"data.cache=disk needs {_gib(self.bytes)}, and {self.folder} has {_gib(free)} left:"
                " take another data.cache_dir=…, or a smaller data.size."
            )
        try:
            with atomic_path(path) as part:
                with part.open("wb") as file:
                    # Reserve the space now: writing to a mapping on a full disk would kill the process.
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, self.bytes)
                    file.truncate(self.bytes)
                self._path = part
                content = self._mapped()
                filling = DataLoader(_Filling(self), batch_size=16, num_workers=workers)
                for _ in track(filling, f"Keeping {len(self.names)} photographs at {self.size}²", transient=True):
                    pass
                content.flush()
        finally:
            self._path = self._content = None

    def _mapped(self) -> np.memmap:
        """Return the whole file, [bytes] uint8: writable while it is built, else read-only."""
        if self._content is None:
            if self._path is None:
                raise RuntimeError("DiskCache.open must be called first")
            mode: Literal["r", "r+"] = "r+" if self._path.suffix == ".part" else "r"
            self._content = np.memmap(self._path, dtype=np.uint8, mode=mode, shape=(self.bytes,))
        return self._content


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

    def look(self, index: int, for_color: bool) -> Reading:
        """Return what the cache holds of the picture at `index`; it was checked for color when it was cached."""
        return self.cache.reading(int(self.rows[index]), lambda: super(CachedPhotographs, self).look(index, True))


class _Filling(Dataset[int]):
    """A dataset that fills the cache as it is iterated over."""

    def __init__(self, cache: DiskCache) -> None:
        self.photographs = CachedPhotographs(cache, cache.names, fill=False)

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> int:
        self.photographs.look(index, for_color=True)
        return index


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
