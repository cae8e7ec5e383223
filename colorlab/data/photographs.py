"""Photographs read and resized to uint8 RGB, on the CPU, in DataLoader's workers."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from colorlab.color import has_color, rgb_to_lab
from colorlab.data.splits import FileNames, Root, folders_of
from colorlab.errors import UserError, printable, reason_of
from colorlab.images.decoding import read_photograph

log = logging.getLogger(__name__)

GRAY = "gray"
"""The reason for skipping a picture that is readable but has no color."""

COLORFUL_SPREAD = 24
"""A pixel has color if its largest and smallest channel differ by more than this, whichever they are."""

MAX_UNREADABLE = 0.1
"""The share of photographs that may be unreadable before training stops."""


class Skipped(NamedTuple):
    """A photograph that is not used, and why."""

    photograph: int  # index into Photographs.names
    reason: str


class Reading(NamedTuple):
    """The result of reading a photograph."""

    rgb: Tensor | None  # [3, H, W] uint8; None if it is unreadable
    reason: str = ""  # why it is unusable for training: GRAY, or the error; empty if it is usable
    transient: bool = False  # the system failed, not the file: reading may succeed another time


class Pictures(NamedTuple):
    """A batch as the workers deliver it."""

    rgb: Tensor  # [B, 3, size, size] uint8; if size is None, [1, 3, H, W]
    # [B] int64 into Photographs.names, plus their number for each earlier showing in the epoch; hides tuple.index
    index: Tensor  # type: ignore[assignment]
    skipped: list[Skipped]


class Photographs(Dataset[Pictures]):
    """The photographs of one split.

    Args:
        root: where they are.
        names: their names there.
        size: side of the square that pictures are stretched to, in pixels; None keeps their own size.
        fill: replace an unusable picture (unreadable or gray) with the next usable one, so that every
            training batch is full. Without it, such pictures are left out.
    """

    def __init__(self, root: Root, names: Iterable[str], size: int | None, fill: bool) -> None:
        self.root, self.size, self.fill = root, size, fill
        self.names = names if isinstance(names, FileNames) else FileNames(names)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def __getitem__(self, index: int) -> Pictures:
        skipped = []
        first = index % len(self)
        for candidate in range(first, first + (len(self) if self.fill else 1)):
            candidate %= len(self)
            rgb, reason, _ = self.look(candidate)
            if rgb is None or reason:
                skipped.append(Skipped(candidate, reason))
                continue
            return Pictures(rgb[None], torch.tensor([candidate + index - first]), skipped)
        side = self.size or 1
        return Pictures(torch.empty(0, 3, side, side, dtype=torch.uint8), torch.empty(0).long(), skipped)

    @staticmethod
    def collate(samples: list[Pictures]) -> Pictures:
        """Join samples into a batch, channels last in memory."""
        return Pictures(
            torch.cat([sample.rgb.permute(0, 2, 3, 1) for sample in samples]).permute(0, 3, 1, 2),
            torch.cat([sample.index for sample in samples]),
            [skipped for sample in samples for skipped in sample.skipped],
        )

    def look(self, index: int) -> Reading:
        """Read the picture at `index` and check that it has color; report errors as a reason."""
        try:
            rgb = self.read(index)
        except UserError:  # the folder is lost, not one picture
            raise
        except Exception as error:  # decoders raise exceptions of any kind
            return Reading(None, reason_of(error), transient=getattr(error, "errno", None) is not None)
        return Reading(rgb, GRAY if is_gray(rgb) else "")

    def read(self, index: int) -> Tensor:
        """Read and resize the picture at `index`.

        Returns:
            rgb: [3, size, size] uint8, channels last in memory.

        Raises:
            UserError: the folder is gone or empty.
            OSError, ValueError, …: this picture is unreadable.
        """
        try:
            rgb = read_photograph(self.root / self.name(index))
        except OSError:
            if lost := [folder for folder in folders_of(self.root) if not _holds_anything(folder)]:
                raise UserError(f"data.root={lost[0]} has vanished, or is empty: is its disk still there?") from None
            raise
        return resize(rgb, self.size)


def resize(rgb: Tensor, size: int | None) -> Tensor:
    """Stretch a picture to a square, antialiased, or keep its size if `size` is None.

    Args:
        rgb: [3, H, W] uint8.
        size: side of the square, in pixels.

    Returns:
        rgb: [3, size, size] uint8, channels last in memory.
    """
    if size is not None:
        rgb = v2.functional.resize(rgb, [size, size], antialias=True)
    return rgb[None].contiguous(memory_format=torch.channels_last)[0]


def is_gray(rgb: Tensor) -> bool:
    """Return whether a picture [3, H, W] uint8 has no color to learn from, judged by every fourth pixel."""
    seen = rgb[:, ::4, ::4]
    if (seen.amax(dim=0) - seen.amin(dim=0)).max() > COLORFUL_SPREAD:  # the quick answer, for most pictures
        return False
    _, ab = rgb_to_lab(seen[None])
    return not has_color(ab)


def _holds_anything(folder: Path) -> bool:
    """Return whether a folder has entries: none if it is gone, or the empty mount point of a lost disk."""
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False


class SkippedPhotographs:
    """The photographs skipped so far, each with its reason.

    Args:
        root: the folder or the shards, for messages.
        total: number of photographs in all splits.
    """

    def __init__(self, root: Root, total: int) -> None:
        self.root, self.total = root, total
        self.reasons: dict[str, str] = {}

    def note(self, batch: Pictures, photographs: Photographs) -> None:
        """Record the skipped photographs of a batch, and warn once about each unreadable one.

        Raises:
            UserError: more than a tenth of the photographs are unreadable.
        """
        for index, reason in batch.skipped:
            name = photographs.name(index)
            if name in self.reasons:
                continue
            self.reasons[name] = reason
            if reason != GRAY:
                log.warning("Left out %s: %s", printable(str(self.root / name)), reason)
        unreadable = self.unreadable
        if len(unreadable) > MAX_UNREADABLE * self.total:
            name, reason = next(iter(unreadable.items()))
            raise UserError(
                f"{len(unreadable)} of the {self.total} photographs in {self.root} cannot be read, more than a tenth;"
                f" the first is {printable(name)} ({reason})."
            )

    @property
    def unreadable(self) -> dict[str, str]:
        """The reason of each unreadable photograph."""
        return {name: reason for name, reason in self.reasons.items() if reason != GRAY}

    def summary(self) -> str:
        """Return how many photographs were left out and why; an empty text if none were."""
        unreadable = len(self.unreadable)
        gray = len(self.reasons) - unreadable
        parts = [f"{gray} gray (no color to learn from)"] * (gray > 0) + [f"{unreadable} unreadable"] * (unreadable > 0)
        return f"left out: {', '.join(parts)}" if parts else ""
