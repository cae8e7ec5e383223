"""Shards: photographs packed into a few large files, for a store that is fast by the file and slow by the picture.

The format is WebDataset's: plain tar files, `train-000000.tar` and so on, that `tar` lists and every
WebDataset reader takes. Beside them lies `index.npz`: the photographs' names, and where in which shard
each one's bytes are. It is written last, so that a build that was killed is no half set of shards
but none.

Only the format is WebDataset's. In its own reader, and in litdata's, the order of an epoch depends on
the number of workers and processes, and WebDataset's knows no place in an epoch to go on from. With the
index one can point into a shard as into a folder, so what reads a folder reads shards, `Photographs`
and `ResumableLoader`; and splits, augmentation, processes and resumes are those of a folder.
"""

import hashlib
import io
import re
import stat
import zipfile
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from colorlab.data.object_store import Bucket, Folder
from colorlab.data.photographs import Split
from colorlab.errors import UserError

INDEX = "index.npz"
SHARD = re.compile(r"(train|val|test)-\d{6}\.tar(\.part)?")
HOW = "python -m colorlab.shards data=folder data.root=PHOTOS out=SHARDS writes them"


class Index(NamedTuple):
    """Where each photograph is. N photographs, in the order in which they are stored, in S shards."""

    names: np.ndarray  # [N] bytes, as the file system spells them
    by_name: np.ndarray  # [N] int64, the photographs in the order of their names
    starts: np.ndarray  # [N] int64, first byte in the shard
    sizes: np.ndarray  # [N] int64, bytes
    times: np.ndarray  # [N] int64, when the file was last changed, in ns
    shards: np.ndarray  # [S] names of the shards
    ends: np.ndarray  # [S] int64, how many photographs there are up to a shard's end
    lengths: np.ndarray  # [S] int64, bytes


class Shards:
    """Photographs in shards, as if they lay in a folder: `shards / name` is one, with what `Path` has to read it.

    Args:
        store: where the shards are.

    Raises:
        UserError: there are none, or not all of them.
    """

    def __init__(self, store: Folder | Bucket) -> None:
        self.store = store
        found = store.sizes()
        if INDEX not in found:
            parts = any(SHARD.fullmatch(name) for name in found)
            state = "an unfinished build of shards" if parts else "no shards"
            raise UserError(f"data.root={store} holds {state} (there is no {INDEX}): {HOW}.")
        self.index = _read_index(store)
        for name, length in zip(self.index.shards.tolist(), self.index.lengths.tolist(), strict=True):
            if found.get(name) != length:
                state = f"has {found[name]} bytes in place of {length}" if name in found else "is missing"
                raise UserError(f"data.root={store} is not whole: {name} {state}; copy or write the shards again.")

    def __str__(self) -> str:
        return str(self.store)

    def __truediv__(self, name: str) -> "Member":
        return Member(self, name)

    def of(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """The photographs of a split as places in the index, [n], and the shard of each, [n], both ascending."""
        (shards,) = np.nonzero(np.char.startswith(self.index.shards, f"{split}-"))
        starts = np.concatenate(([0], self.index.ends))[shards]
        counts = self.index.ends[shards] - starts
        first = starts[0] if len(shards) else 0
        return np.arange(first, first + counts.sum()), np.repeat(shards, counts)

    def names(self, split: Split) -> list[str]:
        """The names of a split's photographs, in the order in which they are stored."""
        places, _ = self.of(split)
        return [name.decode(errors="surrogateescape") for name in self.index.names[places]]

    def place(self, name: str) -> int:
        """Where in the index a photograph is.

        Raises:
            FileNotFoundError: nowhere.
        """
        index, wanted = self.index, name.encode(errors="surrogateescape")
        at = np.searchsorted(index.names, wanted, sorter=index.by_name)
        if at == len(index.names) or index.names[index.by_name[at]] != wanted:
            raise FileNotFoundError(f"{self} holds no {name}")
        return int(index.by_name[at])

    def fetch(self, shard: int) -> None:
        """Have a shard on the local disk."""
        self.store.local(str(self.index.shards[shard]), int(self.index.lengths[shard]))

    def read(self, place: int) -> bytes:
        """The bytes of a photograph."""
        index = self.index
        shard = int(np.searchsorted(index.ends, place, side="right"))
        name, size = str(index.shards[shard]), int(index.sizes[place])
        while True:
            try:
                with open(self.store.local(name, int(index.lengths[shard])), "rb") as file:
                    file.seek(index.starts[place])
                    content = file.read(size)
            except FileNotFoundError:  # another process needed the room just now
                continue
            except OSError as error:  # the disk's fault, and not the photograph's
                raise UserError(f"{self}/{name} cannot be read: {error.strerror}.") from error
            if len(content) < size:
                raise UserError(f"{self}/{name} has become shorter while it was read.")
            return content


class Member(NamedTuple):
    """A photograph in shards, with the face of a `Path`."""

    shards: Shards
    name: str

    def __str__(self) -> str:
        return f"{self.shards}/{self.name}"

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        return self.shards.read(self.shards.place(self.name))

    def stat(self) -> SimpleNamespace:
        """Size and time of the file that was packed."""
        place, index = self.shards.place(self.name), self.shards.index
        return SimpleNamespace(
            st_mode=stat.S_IFREG, st_size=int(index.sizes[place]), st_mtime_ns=int(index.times[place])
        )


def _read_index(store: Folder | Bucket) -> Index:
    content = store.read(INDEX)
    store.version = hashlib.blake2b(content, digest_size=6).hexdigest() + "-"
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Index(**{field: arrays[field] for field in Index._fields})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"data.root={store} holds no shards: its {INDEX} is something else; {HOW}.") from error
