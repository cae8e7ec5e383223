"""Photographs read and packed into shards."""

import io
import logging
import tarfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from colorlab.data.object_store import Bucket, Folder
from colorlab.data.photographs import Split
from colorlab.data.shard_index import INDEX, SHARD, Index
from colorlab.errors import UserError, printable
from colorlab.images.decoding import read_file, read_photograph

log = logging.getLogger(__name__)

QUALITY = 95
"""Of the JPEGs that scaled photographs become, with full color resolution."""


def contents(root: Path, names: list[str], short_side: int | None, workers: int) -> Iterator[tuple[str, bytes, int]]:
    """Name, bytes and time of change (ns) of photographs in this order, read by `workers` processes.

    A file that cannot be read comes empty, and is named: training will leave it out, as it would
    have in the folder.
    """
    files = DataLoader(_Files(root, names, short_side), batch_size=None, num_workers=workers, collate_fn=_as_is)
    for name, (content, time) in zip(names, files, strict=True):
        if not content:
            log.warning("%s cannot be read, and is packed empty.", printable(root / name))
        yield name, content, time


class _Files(Dataset):
    def __init__(self, root: Path, names: list[str], short_side: int | None) -> None:
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


def _scaled(file: Path, short_side: int) -> bytes | None:
    """A JPEG of a photograph that is larger; None for a smaller one, and for one that cannot be decoded."""
    try:
        rgb = read_photograph(file)
    except Exception:  # training will say why, by name
        return None
    if min(rgb.shape[1:]) <= short_side:
        return None
    scaled = v2.functional.to_pil_image(v2.functional.resize(rgb, [short_side], antialias=True))
    jpeg = io.BytesIO()
    scaled.save(jpeg, "JPEG", quality=QUALITY, subsampling=0)
    return jpeg.getvalue()


def _as_is(sample: tuple[bytes, int]) -> tuple[bytes, int]:
    return sample


class ShardWriter:
    """Packs photographs into shards, one split after the other; they can be read after `finish`.

    Args:
        store: where to; what a killed build has left there is deleted.
        size: of a shard, in bytes, unless one photograph is larger.

    Raises:
        UserError: there are shards already.
    """

    def __init__(self, store: Folder | Bucket, size: int) -> None:
        self.store, self.size = store, size
        found = store.sizes()
        if INDEX in found:
            raise UserError(f"out={store} holds shards already: delete them, or choose another place.")
        for name in filter(SHARD.fullmatch, found):
            store.delete(name)
        self._names: list[bytes] = []
        self._numbers = array("q")  # start, size, time of each: ten million are too many for Python's integers
        self._shards: list[tuple[str, int, int]] = []

    def add(self, split: Split, photographs: Iterable[tuple[str, bytes, int]]) -> None:
        """Pack a split: the name, the bytes and the time (ns) of each photograph, in the order to store them."""
        waiting = iter(photographs)
        following = next(waiting, None)
        number = count = 0
        while following is not None:
            with self.store.create(f"{split}-{number:06d}.tar") as path:
                with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                    while following is not None and (tar.offset == 0 or tar.offset + len(following[1]) <= self.size):
                        self._append(tar, count, *following)
                        count, following = count + 1, next(waiting, None)
                self._shards.append((f"{split}-{number:06d}.tar", len(self._names), path.stat().st_size))
            number += 1

    def _append(self, tar: tarfile.TarFile, number: int, name: str, content: bytes, time: int) -> None:
        """A number for a name: WebDataset takes members apart at their first dot, and names may hold several."""
        suffix = ".jpg" if content.startswith(b"\xff\xd8\xff") else PurePosixPath(name).suffix.lower()
        member = tarfile.TarInfo(f"{number:09d}{suffix}")
        member.size, member.mtime = len(content), max(time, 0) // 10**9
        self._names.append(name.encode(errors="surrogateescape"))
        self._numbers.extend((tar.offset + tarfile.BLOCKSIZE, len(content), time))
        tar.addfile(member, io.BytesIO(content))

    def finish(self) -> Index:
        """Write the index, with which the shards begin to exist."""
        names = np.array(self._names)
        starts, sizes, times = np.array(self._numbers, dtype=np.int64).reshape(-1, 3).T
        shards, ends, lengths = (np.array(column) for column in zip(*self._shards, strict=True))
        index = Index(names, names.argsort(kind="stable"), starts, sizes, times, shards, ends, lengths)
        with self.store.create(INDEX) as path, path.open("wb") as file:
            np.savez_compressed(file, **index._asdict())
        return index
