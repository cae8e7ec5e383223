"""Shards: photographs packed into a few large files, for storage that is slow to open many small ones.

The format is WebDataset's: plain tar files, `train-000000.tar` and so on, which `tar` lists and every
WebDataset reader accepts. Beside them is `index.npz`: the names of the photographs, and the shard and
offset of each. It is written last, so a killed build leaves no shards that can be mistaken for complete.

Only the format is WebDataset's. In its reader, and in litdata's, the order of an epoch depends on the
number of workers and processes, and WebDataset's cannot resume within an epoch. The index gives random
access to shards as to a folder, so `Photographs` and `ResumableLoader` read both, with the same splits,
augmentation, processes and resumes.
"""

import hashlib
import os
import re
import stat
from typing import NamedTuple

import numpy as np

from colorlab.data.arrays import NotArrays, read_arrays
from colorlab.data.shard_storage import ShardBucket, ShardFolder
from colorlab.data.splits import Split
from colorlab.errors import UserError

INDEX = "index.npz"
SMALL = 2**24
"""Bytes that an index may always take."""

SHARD = re.compile(r"(train|val|test)-\d{6}\.tar(\.part)?")
HOW = "python -m colorlab.shards data=folder data.root=PHOTOS out=SHARDS writes them"


class Index(NamedTuple):
    """Where each photograph is: N photographs, in the order of storage, in S shards."""

    names: np.ndarray  # [N] bytes, as the file system encodes them
    by_name: np.ndarray  # [N] int64, the photographs sorted by name
    starts: np.ndarray  # [N] int64, first byte in the shard
    sizes: np.ndarray  # [N] int64, bytes
    times: np.ndarray  # [N] int64, when the file was last changed, in ns
    shards: np.ndarray  # [S] names of the shards
    ends: np.ndarray  # [S] int64, how many photographs there are up to a shard's end
    lengths: np.ndarray  # [S] int64, bytes


class Shards:
    """Photographs in shards; `shards / name` is one of them, as it is in a folder.

    Args:
        storage: where the shards are.

    Raises:
        UserError: shards are missing or incomplete.
    """

    def __init__(self, storage: ShardFolder | ShardBucket) -> None:
        self.storage = storage
        found = storage.sizes()
        if INDEX not in found:
            parts = any(SHARD.fullmatch(name) for name in found)
            state = "an unfinished build of shards" if parts else "no shards"
            raise UserError(f"data.root={storage} holds {state} (there is no {INDEX}): {HOW}.")
        self.index = _read_index(storage, found)
        for name, length in zip(self.index.shards.tolist(), self.index.lengths.tolist(), strict=True):
            if found.get(name) != length:
                state = f"has {found[name]} bytes in place of {length}" if name in found else "is missing"
                raise UserError(f"data.root={storage} is incomplete: {name} {state}; copy or write the shards again.")

    def __str__(self) -> str:
        return str(self.storage)

    def __truediv__(self, name: str) -> "PackedPhotograph":
        return PackedPhotograph(self, name)

    def locate(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return a split's photographs as positions in the index, and the shard of each: [n], [n], ascending."""
        (shards,) = np.nonzero(np.char.startswith(self.index.shards, f"{split}-"))
        starts = np.concatenate(([0], self.index.ends))[shards]
        counts = self.index.ends[shards] - starts
        first = starts[0] if len(shards) else 0
        return np.arange(first, first + counts.sum()), np.repeat(shards, counts)

    def names(self, split: Split) -> list[str]:
        """Return the names of a split's photographs, in the order of storage."""
        positions, _ = self.locate(split)
        return [name.decode(errors="surrogateescape") for name in self.index.names[positions]]

    def position(self, name: str) -> int:
        """Return the position of a photograph in the index.

        Raises:
            FileNotFoundError: the index does not contain it.
        """
        index, wanted = self.index, name.encode(errors="surrogateescape")
        at = np.searchsorted(index.names, wanted, sorter=index.by_name)
        if at == len(index.names) or index.names[index.by_name[at]] != wanted:
            raise FileNotFoundError(f"{self} holds no {name}")
        return int(index.by_name[at])

    def fetch(self, shard: int) -> None:
        """Copy a shard to the local disk, unless it is there."""
        self.storage.local(str(self.index.shards[shard]), int(self.index.lengths[shard]))

    def read(self, position: int) -> bytes:
        """Return the bytes of the photograph at a position in the index.

        Raises:
            UserError: its shard cannot be read.
        """
        index = self.index
        shard = int(np.searchsorted(index.ends, position, side="right"))
        name, size = str(index.shards[shard]), int(index.sizes[position])
        while True:
            try:
                with open(self.storage.local(name, int(index.lengths[shard])), "rb") as file:
                    file.seek(index.starts[position])
                    content = file.read(size)
            except FileNotFoundError:  # another process deleted the copy to make room
                continue
            except OSError as error:  # the disk failed, not the photograph
                raise UserError(f"{self}/{name} cannot be read: {error.strerror}.") from error
            if len(content) < size:
                raise UserError(f"{self}/{name} has become shorter while it was read.")
            return content


class PackedPhotograph(NamedTuple):
    """A photograph in shards, with the methods of a `Path` that reading needs."""

    shards: Shards
    name: str

    def __str__(self) -> str:
        return f"{self.shards}/{self.name}"

    def read_bytes(self) -> bytes:
        return self.shards.read(self.shards.position(self.name))

    def stat(self) -> os.stat_result:
        """Return the size and the modification time of the file that was packed."""
        position, index = self.shards.position(self.name), self.shards.index
        sizes = (stat.S_IFREG, 0, 0, 0, 0, 0, int(index.sizes[position]), 0, 0, 0)
        return os.stat_result(sizes, {"st_mtime_ns": int(index.times[position])})


def _read_index(storage: ShardFolder | ShardBucket, sizes: dict[str, int]) -> Index:
    """Read the index of shards; `sizes` are those of the files beside it, in bytes.

    Raises:
        UserError: it is no index, is damaged, or lies about what the shards hold.
    """
    limit = max(SMALL, sum(sizes.values()))  # a photograph takes a kilobyte of a shard at least, and less of the index
    if sizes[INDEX] > limit:
        raise UserError(f"data.root={storage} holds no shards: its {INDEX} is larger than they are.")
    content = storage.read(INDEX)
    storage.version = hashlib.blake2b(content, digest_size=6).hexdigest() + "-"
    try:
        index = Index(**read_arrays(content, Index._fields, limit))
    except NotArrays as error:
        raise UserError(
            f"data.root={storage} holds no shards: its {INDEX} is something else, or damaged ({error}); {HOW}."
        ) from error
    if not _is_consistent(index):
        raise UserError(f"data.root={storage} holds no shards: its {INDEX} contradicts itself; {HOW}.")
    return index


def _is_consistent(index: Index) -> bool:
    """Return whether the arrays have the types and lengths of an index, and each photograph lies in its shard."""
    texts = {"names": "S", "shards": "U"}
    for field, array in index._asdict().items():
        like = index.shards if field in ("shards", "ends", "lengths") else index.names
        kind = texts.get(field, "i")
        if array.ndim != 1 or len(array) != len(like) or array.dtype.kind != kind:
            return False
    count = len(index.names)
    counts = np.diff(index.ends, prepend=0)
    if (counts < 0).any() or counts.sum() != count or not all(map(SHARD.fullmatch, index.shards.tolist())):
        return False
    if not np.array_equal(np.sort(index.by_name), np.arange(count)):
        return False
    room = np.repeat(index.lengths, counts) - index.starts
    return bool((index.starts >= 0).all() and (index.sizes >= 0).all() and (index.sizes <= room).all())
