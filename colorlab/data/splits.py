"""The photographs of a folder: their names, the splits they belong to, and what identifies a set of them."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, overload

import numpy as np

from colorlab.errors import UserError
from colorlab.images.decoding import read_file
from colorlab.images.formats import PHOTOGRAPH_SUFFIXES
from colorlab.images.frames import ReadableFile

SAMPLES = Path(__file__).parent / "samples"

Split = Literal["train", "val", "test"]
Part = Literal["train", "val", "test", "all"]


class Root(Protocol):
    """Where photographs are found by name: a folder (`Path`), or `Shards`."""

    def __truediv__(self, name: str, /) -> ReadableFile: ...


class FileNames(Sequence[str]):
    """An immutable sequence of file names, stored in two arrays.

    DataLoader's workers copy a list of a million strings, as they change its reference counts; they
    share arrays.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        start, end = self._ends[range(len(self))[index] :][:2]
        return os.fsdecode(self._text[start:end].tobytes())


# -- find and split --------------------------------------------------------------------------------


def find_photographs(root: Path) -> list[str]:
    """List the picture files under `root`, in the same order on every machine.

    Returns:
        Paths relative to `root`, with forward slashes, sorted.

    Raises:
        UserError: `root` does not exist, is no folder, or holds no picture.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is {'not a folder' if root.exists() else 'missing'}.")
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + file for file in files if _is_picture(file)]
    if not found:
        raise UserError(f"data.root={root} holds no picture ({' '.join(sorted(PHOTOGRAPH_SUFFIXES))}).")
    return sorted(found)


def _is_picture(file: str) -> bool:
    return os.path.splitext(file)[1].lower() in PHOTOGRAPH_SUFFIXES and not file.startswith(".")


def split_photographs(names: list[str], val_fraction: float, test_fraction: float, seed: int) -> dict[Split, list[str]]:
    """Divide photographs into training, validation and test.

    Folders named train, val and test at the top are those splits. If there is a train/ without a
    val/, validation is drawn from train/; a test set is not. Without a train/, both are drawn from
    all files. The split of a file depends on its path and the seed alone, so it is the same on every
    machine and stays the same when other files are added.

    Returns:
        The names of each split, in the order given.
    """
    top = {name: name.split("/", 1)[0] if "/" in name else "" for name in names}
    if "train" not in top.values():
        return _draw(names, {"val": val_fraction, "test": test_fraction}, seed)
    splits: dict[Split, list[str]] = {
        split: [name for name in names if top[name] == split] for split in ("train", "val", "test")
    }
    if not splits["val"]:
        drawn = _draw(splits["train"], {"val": val_fraction}, seed)
        splits["train"], splits["val"] = drawn["train"], drawn["val"]
    return splits


def _draw(names: list[str], fractions: dict[Split, float], seed: int) -> dict[Split, list[str]]:
    splits: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    for name in names:
        place = _uniform(f"{seed}:{name}")
        for split, fraction in fractions.items():
            if place < fraction:
                splits[split].append(name)
                break
            place -= fraction
        else:
            splits["train"].append(name)
    return splits


def _uniform(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()) / 2**64


# -- fingerprints ----------------------------------------------------------------------------------


def fingerprint(root: Root, names: Iterable[str], *settings: object, times: bool = True) -> str:
    """Identify a set of photographs without reading them, by the names, sizes and times of its files.

    Args:
        root: the folder or the shards.
        names: paths below it; a file without a status, such as a broken link, counts without size.
        settings: anything else that the result made of the photographs depends on.
        times: whether the files' modification times count; without them a copy is the same set.
    """
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=12)
    for name in names:
        try:
            file = (root / name).stat()
            facts = file.st_size, file.st_mtime_ns if times else 0
        except OSError:  # reading the file fails too, and reports why
            facts = -1, 0
        digest.update(f"\n{name}\0{facts}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def content_fingerprint(root: Root, names: Iterable[str]) -> str:
    """Identify a set of photographs by the contents of its files, in order; the same on every machine."""
    digest = hashlib.blake2b(digest_size=12)
    for name in names:
        try:
            content = read_file(root / name)
        except OSError:  # reading the picture fails too, and reports why
            content = b""
        digest.update(hashlib.blake2b(content).digest())
    return digest.hexdigest()
