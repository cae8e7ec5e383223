"""ColorDataModule: the one datamodule of every model."""

import logging
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from colorlab.data.batch import Batch, RandomCropFlip, split_lab
from colorlab.data.cache import Cache, CachedPhotographs, DiskCache, MemoryCache
from colorlab.data.loader import Order, ResumableLoader, outlive_first_signal
from colorlab.data.photographs import (
    GRAY,
    SAMPLES,
    Names,
    Part,
    Photographs,
    Pictures,
    Split,
    find_photographs,
    split_photographs,
)
from colorlab.errors import UserError, printable

log = logging.getLogger(__name__)

MAX_BROKEN = 0.1
"""Training stops when more than this share of the photographs cannot be read."""


class ColorDataModule(LightningDataModule):
    """A folder of photographs as batches of (L, ab).

    Workers read, decode and resize to uint8; on the device the batch is
    augmented (in training) and split into L and ab in float32.

    Args:
        root: the folder; None is the built-in photographs. Its sub-folders train/, val/ and test/
            are the splits where they exist; otherwise files are drawn at random, each for itself.
        size: side of the square that pictures are stretched to, in pixels; None leaves each its own
            size, and then a batch is one picture.
        batch_size: pictures per step and process.
        val_fraction, test_fraction: of the pictures, where no sub-folders say.
        split_seed: another seed draws other pictures for validation and test.
        seed: of the order and the augmentation.
        workers: processes that read; None is one per core, at most 8. 0 reads in the main process.
        cache: keep what was decoded: ram, shared by the workers of a process and filled in the first
            epoch; or disk, one file that is built before the first epoch and shared by all processes.
        cache_dir: where that file goes; None is the user's cache folder.
        augment: what training pictures go through, on the device; None for nothing.

    Raises:
        UserError: the folder is missing or holds too few pictures, or too many are unreadable.
    """

    def __init__(
        self,
        root: str | None = None,
        size: int | None = 256,
        batch_size: int = 32,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        workers: int | None = None,
        cache: Literal["none", "ram", "disk"] = "none",
        cache_dir: str | None = None,
        augment: RandomCropFlip | None = None,
    ) -> None:
        super().__init__()
        bounds = {"size": (1 if size is None else size, 1), "batch_size": (batch_size, 1), "workers": (workers or 0, 0)}
        for name, (value, bound) in bounds.items():
            if value < bound:
                raise UserError(f"data.{name}={value} must be at least {bound}.")
        if size is None and batch_size > 1:
            raise UserError(
                f"data.size=null leaves pictures their own sizes, so data.batch_size={batch_size} must be 1."
            )
        if size is None and cache != "none":
            raise UserError(f"data.cache={cache} keeps pictures of one size: set data.size, or data.cache=none.")
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise UserError("data.val_fraction and data.test_fraction must be at least 0 and together below 1.")
        self.size, self.batch_size, self.seed, self.augment = size, batch_size, seed, augment
        self.workers = min(os.cpu_count() or 1, 8) if workers is None else workers
        self.root, splits = self._find(root, val_fraction, test_fraction, split_seed)
        self.names = {split: Names(chosen) for split, chosen in splits.items()}
        if not self.names["train"]:
            count = sum(map(len, self.names.values()))
            raise UserError(f"data.root={self.root} leaves no photograph to train on (of {count}).")
        self.cache = self._cache(cache, cache_dir)
        self.photographs: dict[Split, Photographs] = {
            split: self._photographs(chosen, fill=split == "train") for split, chosen in self.names.items()
        }
        self.skipped: dict[str, str] = {}

    def _find(
        self, root: str | None, val_fraction: float, test_fraction: float, seed: int
    ) -> tuple[Path, dict[Split, Iterable[str]]]:
        """Where the photographs are, and the names of each split."""
        folder = SAMPLES if root is None else Path(root).expanduser()
        return folder, split_photographs(find_photographs(folder), val_fraction, test_fraction, seed)

    def _cache(self, kind: str, folder: str | None) -> Cache | None:
        if kind == "none":
            return None
        place = self.root, Names(self.files("all")), self.size
        return MemoryCache(*place) if kind == "ram" else DiskCache(*place, folder and Path(folder).expanduser())

    def _photographs(self, names: Iterable[str], fill: bool) -> Photographs:
        if self.cache is None:
            return Photographs(self.root, names, self.size, fill)
        return CachedPhotographs(self.cache, names, fill)

    # -- loaders ----------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader:
        order = self._order(self.trainer.world_size, self.trainer.global_rank)
        return ResumableLoader(self.photographs["train"], order=order, **self._reading(self.photographs["train"]))

    def _order(self, processes: int, rank: int) -> Order:
        """The order of the training photographs, and the share of one process in it."""
        return Order(self.photographs["train"], num_replicas=processes, rank=rank, seed=self.seed)

    def reader(self, split: Part) -> DataLoader:
        """The photographs of a split outside training: each once, in order, unreadable ones left out."""
        return self.reader_of(self.files(split))

    def reader_of(self, names: Iterable[str]) -> DataLoader:
        """As `reader`, of the photographs with these names below `root`."""
        return self.loader(self._photographs(names, fill=False))

    def loader(self, photographs: Photographs) -> DataLoader:
        """Photographs each once, in order."""
        return DataLoader(photographs, **self._reading(photographs))

    def files(self, split: Part) -> Sequence[str]:
        """The names of a split's photographs, below `root`."""
        return sorted(chain(*self.names.values())) if split == "all" else self.names[split]

    def val_dataloader(self) -> DataLoader | list:
        return self.loader(self.photographs["val"]) if self.names["val"] else []

    def test_dataloader(self) -> DataLoader | list:
        return self.loader(self.photographs["test"]) if self.names["test"] else []

    def _reading(self, photographs: Photographs) -> dict[str, Any]:
        """What all loaders have in common; the cache is ready when they begin."""
        if self.cache is not None:
            self.cache.open(self.workers)
        return {
            "batch_size": self.batch_size,
            "num_workers": self.workers,
            "collate_fn": photographs.collate,
            "worker_init_fn": outlive_first_signal,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.workers > 0,
        }

    # -- the device -------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Pictures, dataloader_idx: int) -> Batch:
        """Augment and split a batch, on the device; outside autocast, so Lab stays exact."""
        trainer = self.trainer
        split = "train" if trainer.training else "test" if trainer.testing else "val"
        self.note_skipped(batch, self.photographs[split])
        if trainer.training and not len(batch.index):
            raise UserError(f"data.root={self.root} holds no photograph with color to learn from.")
        rgb = batch.rgb
        if trainer.training and self.augment is not None:
            rgb = self.augment(rgb, batch.index, self.seed, trainer.current_epoch)
        return split_lab(rgb, batch.index)

    def note_skipped(self, batch: Pictures, photographs: Photographs) -> None:
        """Name each unreadable photograph once; stop when there are too many.

        Raises:
            UserError: more than a tenth of the photographs cannot be read.
        """
        for index, reason in batch.skipped:
            name = photographs.name(index)
            if name in self.skipped:
                continue
            self.skipped[name] = reason
            if reason != GRAY:
                log.warning("Left out %s: %s", printable(self.root / name), reason)
        broken, total = len(self.broken), sum(map(len, self.names.values()))
        if broken > MAX_BROKEN * total:
            first = next(iter(self.broken.items()))
            raise UserError(
                f"{broken} of the {total} photographs in {self.root} cannot be read, more than a tenth;"
                f" the first is {printable(first[0])} ({first[1]})."
            )

    @property
    def broken(self) -> dict[str, str]:
        """The unreadable photographs met so far and why."""
        return {name: reason for name, reason in self.skipped.items() if reason != GRAY}

    def summary(self) -> str:
        """One line on the photographs: how many in each split, and how many of them were left out."""
        counts = ", ".join(f"{len(names)} {split}" for split, names in self.names.items())
        gray = len(self.skipped) - len(self.broken)
        left_out = [f"{gray} gray (no color to learn from)"] * (gray > 0)
        left_out += [f"{len(self.broken)} unreadable"] * bool(self.broken)
        return f"photographs: {counts}" + (f"; left out: {', '.join(left_out)}" if left_out else "")
