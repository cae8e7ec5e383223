"""The photographs of a folder: their names, the splits they belong to, and what identifies a set of them."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
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

MEANINGS: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What the names of folders mean, in lower case."""


class Root(Protocol):
    """Where photographs are found by name: a folder (`Path`), `PathList`, `Table`, `Roots` or `Shards`."""

    def __truediv__(self, name: str, /) -> ReadableFile: ...


def folders_of(root: Root) -> list[Path]:
    """Return the folders that a source reads files from; if one is lost, no photograph of it can be read."""
    return [root] if isinstance(root, Path) else list(getattr(root, "folders", []))


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
    found = [name for name in files_below(root) if is_picture(name)]
    if not found:
        raise UserError(f"data.root={root} holds no picture ({' '.join(sorted(PHOTOGRAPH_SUFFIXES))}).")
    return sorted(found)


def files_below(root: Path) -> Iterator[str]:
    """Yield the files under a folder, as paths relative to it with forward slashes.

    Links to folders are followed, except to the folders that they are in.
    """
    above = {str(root): frozenset({_identity(str(root))})}  # a folder not yet visited: what it and those above it are
    for folder, subfolders, files in os.walk(root, followlinks=True):
        chain = above.pop(folder)
        subfolders.sort()
        for name in tuple(subfolders):
            path = os.path.join(folder, name)
            if (identity := _identity(path)) in chain:
                subfolders.remove(name)
            above[path] = chain | {identity}
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        yield from (prefix + file for file in files)


def _identity(folder: str) -> tuple[int, int]:
    """Return what is the same for a folder and a link to it."""
    try:
        status = os.stat(folder)
    except OSError:  # it has just been removed
        return -1, -1
    return status.st_dev, status.st_ino


def is_picture(name: str) -> bool:
    """Return whether a file is a photograph by its name."""
    file = name.rpartition("/")[2]
    return os.path.splitext(file)[1].lower() in PHOTOGRAPH_SUFFIXES and not file.startswith(".")


def split_photographs(
    names: Sequence[str], val_fraction: float, test_fraction: float, seed: int, labels: Sequence[str] | None = None
) -> dict[Split, list[str]]:
    """Divide photographs into training, validation and test.

    Labels such as train, val or Validation (see `MEANINGS`) say which split a photograph belongs to. If
    some are labeled train and none val, validation is drawn from train; a test set is not. If none is
    labeled train, both are drawn from all photographs. But where a list or a table labels photographs val or
    test and none train, those with other labels or none are for training; there may be none of these.
    A drawn split depends on the photograph's name and the seed alone, so it is the same on every machine and
    stays the same when others are added.

    Args:
        names: the photographs.
        val_fraction, test_fraction: shares to draw.
        seed: another seed draws others.
        labels: one of each photograph; None takes the names of the top folders.

    Returns:
        The names of each split, in the order given.

    Raises:
        UserError: two labels mean the same split.
    """
    given = labels is not None
    if labels is None:
        labels = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    meanings = {label: meaning for label in set(labels) if (meaning := MEANINGS.get(label.lower()))}
    others: Split | None = None  # what labels without a meaning stand for
    if "train" not in meanings.values():
        if not given or not meanings:
            return _draw(names, {"val": val_fraction, "test": test_fraction}, seed)
        others = "train"
    splits: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    for split in splits:
        same = sorted(label for label, meaning in meanings.items() if meaning == split)
        if len(same) > 1:
            raise UserError(f"data.root has photographs in {' and in '.join(same)}, which mean the same: rename one.")
    for name, label in zip(names, labels, strict=True):
        if split_of_label := meanings.get(label, others):
            splits[split_of_label].append(name)
    if not splits["val"]:
        drawn = _draw(splits["train"], {"val": val_fraction}, seed)
        splits["train"], splits["val"] = drawn["train"], drawn["val"]
    return splits


def _draw(names: Sequence[str], fractions: dict[Split, float], seed: int) -> dict[Split, list[str]]:
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
