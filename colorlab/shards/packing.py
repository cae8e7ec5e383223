"""Photographs read and packed into shards."""

import io
import logging
import tarfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from colorlab.data.shard_index import INDEX, SHARD, Index
from colorlab.data.shard_storage import ShardBucket, ShardFolder
from colorlab.data.splits import Root, Split
from colorlab.errors import UserError, printable
from colorlab.images.decoding import read_file, read_photograph
from colorlab.images.frames import ReadableFile

log = logging.getLogger(__name__)

QUALITY = 95
"""JPEG quality of scaled photographs, which keep the full color resolution."""


def read_all(
    root: Root, names: Sequence[str], short_side: int | None, workers: int
) -> Iterator[tuple[str, bytes, int]]:
    """Yield the name, the bytes and the modification time (ns) of photographs, in this order.

    An unreadable file is reported, and comes empty: training will leave it out, as it would have in the
    folder.

    Args:
        root, names: the photographs.
        short_side: scale larger photographs down to this, as JPEGs; None keeps the files as they are.
        workers: processes that read.
    """
    files = DataLoader(_Files(root, names, short_side), batch_size=None, num_workers=workers, collate_fn=_unchanged)
    for name, (content, time) in zip(names, files, strict=True):
        if not content:
            log.warning("%s cannot be read, and is packed empty.", printable(str(root / name)))
        yield name, content, time


class _Files(Dataset[tuple[bytes, int]]):
    def __init__(self, root: Root, names: Sequence[str], short_side: int | None) -> None:
        self.root, self.names, self.short_side = root, names, short_side

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        file = self.root / self.names[index]
        try:
            content, time = read_file(file), file.stat().st_mtime_ns
        except OSError:
            return b"", 0
        return (content if self.short_side is None else _scaled(file, self.short_side) or content), time


def _scaled(file: ReadableFile, short_side: int) -> bytes | None:
    """Return a photograph scaled down, as a JPEG; None if it is no larger, or cannot be decoded."""
    try:
        rgb = read_photograph(file)
    except Exception:  # training will report why
        return None
    if min(rgb.shape[1:]) <= short_side:
        return None
    scaled = v2.functional.to_pil_image(v2.functional.resize(rgb, [short_side], antialias=True))
    jpeg = io.BytesIO()
    scaled.save(jpeg, "JPEG", quality=QUALITY, subsampling=0)
    return jpeg.getvalue()


def _unchanged(sample: Any) -> Any:
    return sample


class ShardWriter:
    """Packs photographs into shards, one split after the other; they are readable after `finish`.

    Args:
        storage: where to; the remains of a killed build are deleted.
        size: of a shard in bytes, unless a single photograph is larger.

    Raises:
        UserError: the storage holds shards already.
    """

    def __init__(self, storage: ShardFolder | ShardBucket, size: int) -> None:
        self.storage, self.size = storage, size
        found = storage.sizes()
        if INDEX in found:
            raise UserError(f"out={storage} holds shards already: delete them, or choose another place.")
        for name in filter(SHARD.fullmatch, found):
            storage.delete(name)
        self._names: list[bytes] = []
        self._numbers = array("q")  # start, size and time of each: an array, as there may be ten million photographs
        self._shards: list[tuple[str, int, int]] = []

    def add(self, split: Split, photographs: Iterable[tuple[str, bytes, int]]) -> None:
        """Pack the photographs of a split.

        Args:
            split: its name.
            photographs: name, bytes and modification time (ns) of each, in the order to store them.
        """
        remaining = iter(photographs)
        photograph = next(remaining, None)
        number = count = 0
        while photograph is not None:
            with self.storage.create(f"{split}-{number:06d}.tar") as path:
                with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                    while photograph is not None and (tar.offset == 0 or tar.offset + len(photograph[1]) <= self.size):
                        self._append(tar, count, *photograph)
                        count, photograph = count + 1, next(remaining, None)
                self._shards.append((f"{split}-{number:06d}.tar", len(self._names), path.stat().st_size))
            number += 1

    def _append(self, tar: tarfile.TarFile, number: int, name: str, content: bytes, time: int) -> None:
        """Append a photograph under a number: WebDataset splits names at the first dot, and file names have dots."""
        suffix = ".jpg" if content.startswith(b"\xff\xd8\xff") else PurePosixPath(name).suffix.lower()
        member = tarfile.TarInfo(f"{number:09d}{suffix}")
        member.size, member.mtime = len(content), max(time, 0) // 10**9
        self._names.append(name.encode(errors="surrogateescape"))
        self._numbers.extend((tar.offset + tarfile.BLOCKSIZE, len(content), time))
        tar.addfile(member, io.BytesIO(content))

    def finish(self) -> Index:
        """Write the index, which makes the shards readable."""
        names = np.array(self._names)
        starts, sizes, times = np.array(self._numbers, dtype=np.int64).reshape(-1, 3).T
        shards, ends, lengths = (np.array(column) for column in zip(*self._shards, strict=True))
        index = Index(names, names.argsort(kind="stable"), starts, sizes, times, shards, ends, lengths)
        with self.storage.create(INDEX) as path, path.open("wb") as file:
            np.savez_compressed(file, **index._asdict())
        return index
