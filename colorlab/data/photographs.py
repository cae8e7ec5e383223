"""Photographs on disk: find them, split them, and deliver them as uint8 RGB. All of it on the CPU."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from colorlab.color import has_color, rgb_to_lab
from colorlab.errors import UserError, reason_of
from colorlab.images.decoding import read_file, read_photograph
from colorlab.images.formats import PHOTOGRAPH_SUFFIXES

SAMPLES = Path(__file__).parent / "samples"

Split = Literal["train", "val", "test"]
Part = Literal["train", "val", "test", "all"]


class Names(Sequence[str]):
    """Names of files, in two arrays: a million strings would be copied into every worker bit by bit."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        start, end = self._ends[range(len(self))[index] :][:2]
        return os.fsdecode(self._text[start:end].tobytes())


# -- find and split --------------------------------------------------------------------------------


def find_photographs(root: Path) -> list[str]:
    """List the picture files under `root`, in an order every machine agrees on.

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

    Folders named train, val and test at the top are those splits. What is missing of them is drawn
    from train/ (only val: a test set is never invented beside a given train/), and from all files
    where there is no train/. A file's side depends on its own path and the seed alone, so it is the
    same on every machine and stays when other files are added.

    Returns:
        The names of each split, in the order given.
    """
    top = {name: name.split("/", 1)[0] if "/" in name else "" for name in names}
    if "train" not in top.values():
        draw = {"val": val_fraction, "test": test_fraction}
        return _draw(names, draw, seed)
    splits: dict[Split, list[str]] = {
        split: [name for name in names if top[name] == split] for split in ("train", "val", "test")
    }
    if not splits["val"]:
        drawn = _draw(splits["train"], {"val": val_fraction}, seed)
        splits["train"], splits["val"] = drawn["train"], drawn["val"]
    return splits


def _draw(names: list[str], fractions: dict[str, float], seed: int) -> dict[Split, list[str]]:
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
    """A number in [0, 1) that depends on the text alone, on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()) / 2**64


def content_fingerprint(root: Path, names: list[str]) -> str:
    """What tells one set of photographs from another, on every machine: their files' contents, in order."""
    digest = hashlib.blake2b(digest_size=12)
    for name in names:
        try:
            content = read_file(root / name)
        except OSError:  # reading the picture fails too, and says why
            content = b""
        digest.update(hashlib.blake2b(content).digest())
    return digest.hexdigest()


# -- deliver -------------------------------------------------------------------------------------


class Skipped(NamedTuple):
    """A photograph that cannot be used."""

    index: int
    reason: str


GRAY = "gray"
"""The reason of a picture that was read, but has no color."""


class Reading(NamedTuple):
    """What came of reading a photograph."""

    rgb: Tensor | None  # [3, H, W] uint8; None where it cannot be read
    reason: str | None  # why it is not learned from: it is gray, or what is wrong with the file
    passing: bool = False  # whether the system failed and not the file: another time it may be read


class Pictures(NamedTuple):
    """What the workers deliver: pictures, which ones they are, and those they had to leave out."""

    rgb: Tensor  # [B, 3, size, size] uint8; without a size [1, 3, H, W]
    index: Tensor  # [B] int64, into Photographs.names
    skipped: list[Skipped]


class Photographs(Dataset):
    """Photographs of one split, read and resized in the workers.

    Args:
        root: the folder.
        names: paths below it.
        size: side of the square that pictures are stretched to, in pixels; None for their own.
        fill: put the next usable picture in the place of an unusable one (broken, or gray), so that
            every training batch is full. Without it, gray pictures stay and broken ones are left out.
    """

    def __init__(self, root: Path, names: Iterable[str], size: int | None, fill: bool) -> None:
        self.root, self.size, self.fill = root, size, fill
        self.names = names if isinstance(names, Names) else Names(names)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def __getitem__(self, index: int) -> Pictures:
        skipped = []
        for candidate in range(index, index + (len(self) if self.fill else 1)):
            candidate %= len(self)
            rgb, reason, _ = self.look(candidate, for_color=self.fill)
            if rgb is None or (self.fill and reason is not None):
                skipped.append(Skipped(candidate, reason))
                continue
            return Pictures(rgb[None], torch.tensor([candidate]), skipped)
        return Pictures(
            torch.empty(0, 3, self.size or 1, self.size or 1, dtype=torch.uint8), torch.empty(0).long(), skipped
        )

    @staticmethod
    def collate(samples: list[Pictures]) -> Pictures:
        """Join samples into a batch, channels last in memory as they are."""
        return Pictures(
            torch.cat([sample.rgb.permute(0, 2, 3, 1) for sample in samples]).permute(0, 3, 1, 2),
            torch.cat([sample.index for sample in samples]),
            [skipped for sample in samples for skipped in sample.skipped],
        )

    def look(self, index: int, for_color: bool) -> Reading:
        """Read the picture at `index`, whatever comes of it, and look for color in it if asked to."""
        try:
            rgb = self.read(index)
        except UserError:  # no fault of the picture's: the place it lies in is lost
            raise
        except Exception as error:  # decoders raise whatever they like; the reason is reported
            return Reading(None, reason_of(error), passing=getattr(error, "errno", None) is not None)
        return Reading(rgb, GRAY if for_color and is_gray(rgb) else None)

    def read(self, index: int) -> Tensor:
        """The picture at `index`: [3, size, size] uint8 RGB, channels last in memory.

        Raises:
            UserError: no picture can be read any more.
            OSError, ValueError and the like: this one cannot.
        """
        try:
            rgb = read_photograph(self.root / self.name(index))
        except OSError:
            if _holds_anything(self.root):
                raise
            raise UserError(f"data.root={self.root} has vanished, or is empty: is its disk still there?") from None
        return resize(rgb, self.size)


def resize(rgb: Tensor, size: int | None) -> Tensor:
    """Stretch a picture [3, H, W] uint8 to a square, antialiased, if a size is given; channels last in memory."""
    if size is not None:
        rgb = v2.functional.resize(rgb, [size, size], antialias=True)
    return rgb[None].contiguous(memory_format=torch.channels_last)[0]


COLORFUL_SPREAD = 24
"""Where a pixel's largest and smallest channel lie further apart, it has color, whichever channels they are."""


def is_gray(rgb: Tensor) -> bool:
    """Whether a picture [3, H, W] uint8 has no color to learn from; looks at every fourth pixel."""
    seen = rgb[:, ::4, ::4]
    if (seen.amax(dim=0) - seen.amin(dim=0)).max() > COLORFUL_SPREAD:  # as in most pictures
        return False
    _, ab = rgb_to_lab(seen[None])
    return not has_color(ab)


def _holds_anything(folder: Any) -> bool:
    """Not if it is gone, and not if it is where a disk was mounted that is gone."""
    if not isinstance(folder, Path):  # shards, which say themselves what became of them
        return True
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False
