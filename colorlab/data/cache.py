"""Photographs decoded once: what was read of each is kept, in memory or in a file, for the epochs to come."""

import contextlib
import glob
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from colorlab.data.photographs import GRAY, Names, Photographs, Reading
from colorlab.errors import UserError
from colorlab.files import atomic_path

FORMAT = 1
"""Of what reading gives: another number, where the same file comes to other bytes, lets all files be read anew."""
UNREAD, COLORFUL, COLORLESS, UNREADABLE = range(4)


class Cache(ABC):
    """What reading gave for each photograph of a folder: a state of one byte, and [size, size, 3] bytes.

    Whichever worker (or, on disk, process) reads a photograph first leaves it to the others. In the
    place of an unreadable picture stands the reason. What failed for a reason that may pass, such as a
    disk that does not answer, is not kept: whoever needs it tries again.

    Args:
        root: the folder.
        names: all photographs in it.
        size: side of the pictures, in pixels.
    """

    def __init__(self, root: Path, names: Names, size: int) -> None:
        self.root, self.names, self.size = root, names, size
        self.bytes = len(names) * (1 + 3 * size**2)

    @abstractmethod
    def open(self, workers: int) -> None:
        """Make it ready, before workers are started; if it must be built first, by as many."""

    @abstractmethod
    def content(self) -> np.ndarray:
        """All of it, [bytes] uint8: first the states, then the pictures."""

    def reading(self, row: int, read: Callable[[], Reading]) -> Reading:
        """What `read` gives for the photograph of this row, or gave before."""
        states, pictures = np.split(self.content(), [len(self.names)])
        picture = pictures.reshape(len(states), -1)[row]
        if states[row] == UNREAD:
            reading = read()
            if reading.passing or not picture.flags.writeable:  # a file of ours that is whole stays as it is
                return reading
            if reading.rgb is None:
                text = reading.reason.encode()[: len(picture)]
                picture[:] = np.frombuffer(text.ljust(len(picture), b"\0"), dtype=np.uint8)
                states[row] = UNREADABLE
            else:
                picture[:] = reading.rgb.permute(1, 2, 0).flatten().numpy()
                states[row] = COLORLESS if reading.reason == GRAY else COLORFUL  # until now others read for themselves
        if states[row] == UNREADABLE:
            return Reading(None, picture.tobytes().rstrip(b"\0").decode(errors="ignore"))
        rgb = torch.from_numpy(picture.reshape(self.size, self.size, 3).copy()).permute(2, 0, 1)
        return Reading(rgb, GRAY if states[row] == COLORLESS else None)


class MemoryCache(Cache):
    """In memory that the workers share: filled in the first epoch, read from in the others."""

    _shared: Tensor | None = None

    def open(self, workers: int) -> None:
        if self._shared is not None:
            return
        place = Path("/dev/shm")
        if place.is_dir() and self.bytes > (free := shutil.disk_usage(place).free):
            raise UserError(
                f"data.cache=ram needs {_gib(self.bytes)} of shared memory, and {place} has {_gib(free)} left:"
                " take data.cache=disk, or a smaller data.size."
            )
        storage = torch.UntypedStorage._new_shared(self.bytes)  # as torch's collate does: nothing is written yet
        self._shared = torch.empty(0, dtype=torch.uint8).set_(storage)

    def content(self) -> np.ndarray:
        return self._shared.numpy()


class DiskCache(Cache):
    """In one file, mapped into memory; built whole before it is used, and shared by all processes.

    Its name tells the folder, the size and a fingerprint of the photographs, so a change of them is
    noticed; the new file takes the old one's place. While one process builds, others wait for it.

    Args:
        root, names, size: as for Cache.
        folder: where the file goes; None for the user's cache folder.
    """

    def __init__(self, root: Path, names: Names, size: int, folder: Path | None = None) -> None:
        super().__init__(root, names, size)
        self.folder = folder or user_cache_path("colorlab") / "pictures"
        self._path: Path | None = None
        self._mapped: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_mapped": None}  # a worker that is not forked maps the file for itself

    def open(self, workers: int) -> None:
        if self._path is not None:
            return
        place = hashlib.blake2b(os.fsencode(self.root.resolve()), digest_size=6).hexdigest()
        stem = f"{self.root.resolve().name}-{self.size}-{place}"
        path = self.folder / f"{stem}-{fingerprint(self.root, self.names, self.size, FORMAT)}.pictures"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{stem}.lock"):
                if not path.is_file():
                    self._remove_others(stem)
                    self._build(path, workers)
        except OSError as error:
            raise UserError(
                f"data.cache=disk cannot use {self.folder} ({error}): take another data.cache_dir=…"
            ) from error
        self._map(path, "r")

    def _remove_others(self, stem: str) -> None:
        """Of the folder as it was before a change, or left by a build that was killed."""
        for other in self.folder.glob(f"{glob.escape(stem)}-*"):
            with contextlib.suppress(PermissionError):  # Windows, while another process has it open
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
                    if hasattr(os, "posix_fallocate"):  # takes its room now: what is written into a mapping of a disk
                        os.posix_fallocate(file.fileno(), 0, self.bytes)  # that has become full would end the process
                    file.truncate(self.bytes)
                self._map(part, "r+")
                filling = DataLoader(_Filling(self), batch_size=16, num_workers=workers)
                for _ in track(filling, f"Keeping {len(self.names)} photographs at {self.size}²", transient=True):
                    pass
                self._mapped.flush()
        finally:
            self._path = self._mapped = None

    def _map(self, path: Path, mode: str) -> None:
        self._path, self._mode = path, mode
        self._mapped = np.memmap(path, dtype=np.uint8, mode=mode, shape=(self.bytes,))

    def content(self) -> np.ndarray:
        if self._mapped is None:
            self._map(self._path, self._mode)
        return self._mapped


class CachedPhotographs(Photographs):
    """Photographs that are read once.

    Args:
        cache: where to.
        others: as for Photographs.
    """

    def __init__(self, cache: Cache, names: Iterable[str], fill: bool) -> None:
        super().__init__(cache.root, names, cache.size, fill)
        rows = {name: row for row, name in enumerate(cache.names)}
        self.cache, self.rows = cache, np.array([rows[name] for name in self.names], dtype=np.int64)

    def look(self, index: int, for_color: bool) -> Reading:
        """As it was when the photograph was looked at first, then for color too."""
        return self.cache.reading(int(self.rows[index]), lambda: super(CachedPhotographs, self).look(index, True))


class _Filling(Dataset):
    """Each photograph looked at, for the cache's sake alone."""

    def __init__(self, cache: Cache) -> None:
        self.photographs = CachedPhotographs(cache, cache.names, fill=False)

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> int:
        self.photographs.look(index, for_color=True)
        return index


def fingerprint(root: Path, names: Iterable[str], *made: object, times: bool = True) -> str:
    """What tells one set of photographs from another without reading them: the names, sizes and times of its files.

    Args:
        root: the folder.
        names: paths below it; a file that cannot be looked at, such as a link to nowhere, has no size.
        made: what else that depends on which is made of the photographs.
        times: whether a copy of the photographs, whose times are others, is another set.
    """
    digest = hashlib.blake2b(repr(made).encode(), digest_size=12)
    for name in names:
        try:
            file = (root / name).stat()
            facts = file.st_size, file.st_mtime_ns if times else 0
        except OSError:  # reading will fail too, and say why
            facts = -1, 0
        digest.update(f"\n{name}\0{facts}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
