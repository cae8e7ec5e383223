"""ColorDataModule: photographs as batches of (L, ab)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch

from colorlab.data.augmentation import Augmentation
from colorlab.data.cache import CachedPhotographs, DiskCache
from colorlab.data.loader import Loader, ResumableLoader, outlive_first_signal
from colorlab.data.on_device import OnDeviceDataModule
from colorlab.data.order import EpochOrder
from colorlab.data.photographs import Photographs, SkippedPhotographs
from colorlab.data.sources import WeightedRoot, find_source, find_sources, order_of
from colorlab.data.splits import (
    SAMPLES,
    FileNames,
    Part,
    Root,
    Split,
    fingerprint,
)
from colorlab.errors import UserError
from colorlab.process.open_files import workers_within_limit


class ColorDataModule(OnDeviceDataModule):
    """Photographs as batches of (L, ab).

    Workers read, decode and resize to uint8; on the device the batch is augmented (in training) and
    split into L and ab in float32.

    Args:
        root: a folder, a list of paths (.txt, .csv) or a Parquet table; None is the built-in photographs.
            Sub-folders train/, val/ and test/ are the splits; without them each is assigned at random.
        size: side of the square that pictures are stretched to, in pixels; None keeps their own
            sizes, and then a batch is one picture.
        batch_size: pictures per step and process.
        val_fraction, test_fraction: shares of the pictures, where there are no sub-folders.
        split_seed: another seed draws other pictures for validation and test.
        seed: of the order and the augmentation.
        workers: processes that read; None is one per core, at most 8. 0 reads in the main process.
        cache: disk keeps the decoded pictures in one file, which is built before the first epoch and
            shared by all processes.
        cache_dir: where that file goes; None is the user's cache folder.
        augment: what training pictures go through, on the device: one, or a list in this order; None for nothing.
            A module that takes rgb alone, like those of `kornia.augmentation`, draws the same for each seed, epoch and
            batch.
        roots: several in place of `root`: PHOTOS or {root: PHOTOS, weight: 2} each, shown in training
            weight times an epoch. Validation and test show all photographs once.

    Raises:
        UserError: the folder is missing or holds no pictures, or an argument is out of range.
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
        cache: Literal["none", "disk"] = "none",
        cache_dir: str | None = None,
        augment: Augmentation | list[Augmentation] | None = None,
        roots: list[WeightedRoot] | None = None,
    ) -> None:
        _check(size, batch_size, workers, cache, val_fraction, test_fraction)
        super().__init__(seed, augment, size)
        self.size, self.batch_size = size, batch_size
        self.workers = workers_within_limit(workers, default=min(os.cpu_count() or 1, 8))
        if root is not None and roots is not None:
            raise UserError("data.root and data.roots exclude each other: set one of them to null.")
        self.root, splits = self.find(root if roots is None else roots, val_fraction, test_fraction, split_seed)
        self.names = {split: FileNames(chosen) for split, chosen in splits.items()}
        total = sum(map(len, self.names.values()))
        self.cache: DiskCache | None = None
        if cache == "disk" and size is not None:
            place = Path(cache_dir).expanduser() if cache_dir else None
            self.cache = DiskCache(self.root, FileNames(self.files("all")), size, place)
        self.photographs = {split: self._photographs(chosen, split == "train") for split, chosen in self.names.items()}
        self.skipped = SkippedPhotographs(self.root, total)

    def find(
        self, root: str | Sequence[WeightedRoot] | None, val_fraction: float, test_fraction: float, seed: int, /
    ) -> tuple[Root, Mapping[Split, Iterable[str]]]:
        """Return where the photographs are, and the names in each split; a subclass may find others.

        Args:
            root: `root` or `roots` as configured.
            val_fraction, test_fraction, seed: of the splits that are drawn.

        Returns:
            The source: `source / name` is a file, as of a folder's `Path`; and the names of each split.
        """
        if root is None or isinstance(root, str):
            path = SAMPLES if root is None else Path(root).expanduser()
            return find_source(path, val_fraction, test_fraction, seed)
        return find_sources(root, val_fraction, test_fraction, seed)

    def _photographs(self, names: Iterable[str], fill: bool) -> Photographs:
        if self.cache is None:
            return Photographs(self.root, names, self.size, fill)
        return CachedPhotographs(self.cache, names, fill)

    def files(self, split: Part) -> Sequence[str]:
        """Return the names of a split's photographs, relative to `root`."""
        return sorted(chain(*self.names.values())) if split == "all" else self.names[split]

    def fingerprints(self) -> dict[str, Any]:
        """Return what identifies the photographs: `root`, and each split's number of photographs and fingerprint."""
        return {"root": str(self.root)} | {
            split: {"photographs": len(names), "fingerprint": fingerprint(self.root, names, times=False)}
            for split, names in self.names.items()
        }

    def check_training(self) -> None:
        """Check that there are photographs to train on.

        Raises:
            UserError: all of them are for validation or test.
        """
        if not self.names["train"]:
            raise UserError(f"data.root={self.root} has no photographs for training ({self.summary()}).")

    def summary(self) -> str:
        """Return one line on the photographs: how many each split has, and how many were left out."""
        counts = ", ".join(f"{len(names)} {split}" for split, names in self.names.items())
        return "; ".join(filter(None, [f"photographs: {counts}", self.skipped.summary()]))

    # -- loaders ----------------------------------------------------------------------------------

    def train_dataloader(self) -> ResumableLoader:
        photographs = self.photographs["train"]
        order = self._order(self.trainer.world_size, self.trainer.global_rank)
        return ResumableLoader(photographs, self.batch_size, order, **self._settings(photographs))

    def val_dataloader(self) -> Loader | list:
        return self.loader(self.photographs["val"]) if self.names["val"] else []

    def test_dataloader(self) -> Loader | list:
        return self.loader(self.photographs["test"]) if self.names["test"] else []

    def reader(self, split: Part) -> Loader:
        """Return a loader that reads each photograph of a split once, in order, and leaves out unreadable ones."""
        return self.reader_of(self.files(split))

    def reader_of(self, names: Iterable[str]) -> Loader:
        """Return a loader like `reader`, of the photographs with these names below `root`."""
        return self.loader(self._photographs(names, fill=False))

    def loader(self, photographs: Photographs) -> Loader:
        """Return a loader that reads each photograph once, in order."""
        return Loader(photographs, self.batch_size, **self._settings(photographs))

    def _order(self, processes: int, rank: int) -> EpochOrder:
        """Return the order of the training photographs, and the share of one process in it."""
        return order_of(self.photographs["train"], processes, rank, self.seed)

    def _settings(self, photographs: Photographs) -> dict[str, Any]:
        """Return the arguments that all loaders have in common; the cache is opened first."""
        if self.cache is not None:
            self.cache.open(self.workers)
        return {
            "num_workers": self.workers,
            "collate_fn": photographs.collate,
            "worker_init_fn": outlive_first_signal,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.workers > 0,
            "generator": torch.Generator(),  # leaves the global one to the network: a resumed run starts loaders later
        }


def _check(
    size: int | None, batch_size: int, workers: int | None, cache: str, val_fraction: float, test_fraction: float
) -> None:
    bounds = {"size": (1 if size is None else size, 1), "batch_size": (batch_size, 1), "workers": (workers or 0, 0)}
    for name, (value, bound) in bounds.items():
        if value < bound:
            raise UserError(f"data.{name}={value} must be at least {bound}.")
    if size is None and batch_size > 1:
        raise UserError(f"data.size=null leaves pictures their own sizes, so data.batch_size={batch_size} must be 1.")
    if size is None and cache != "none":
        raise UserError(f"data.cache={cache} keeps pictures of one size: set data.size, or data.cache=none.")
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise UserError("data.val_fraction and data.test_fraction must be at least 0 and together below 1.")
