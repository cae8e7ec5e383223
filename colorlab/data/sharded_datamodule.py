"""ShardedDataModule: photographs in shards as batches of (L, ab)."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain

import numpy as np

from colorlab.data.augmentation import Augmentation
from colorlab.data.datamodule import ColorDataModule
from colorlab.data.order import DrawnOrder, EpochOrder, grouped_permutation
from colorlab.data.photographs import Photographs
from colorlab.data.shard_index import Shards
from colorlab.data.shard_storage import ShardBucket, storage_at
from colorlab.data.splits import Part, Split
from colorlab.errors import UserError

AHEAD = 3
"""How many shards are fetched before their first photograph is needed."""


class ShardedDataModule(ColorDataModule):
    """Shards, in a folder or a bucket, as batches of (L, ab).

    The splits were decided when the shards were written.

    Args:
        root: a folder of shards, or its URL in an object store: s3://bucket/folder.
        size, batch_size, seed, workers, augment: as in ColorDataModule.
        window: how many shards are mixed at a time; see `ShardOrder`.
        disk_gigabytes: most disk space that local copies of buckets' shards take.

    Raises:
        UserError: shards are missing, or disk_gigabytes is too small for the window.
    """

    root: Shards

    def __init__(
        self,
        root: str,
        size: int | None = 256,
        batch_size: int = 32,
        seed: int = 0,
        workers: int | None = None,
        augment: Augmentation | list[Augmentation] | None = None,
        window: int = 16,
        disk_gigabytes: float = 20.0,
    ) -> None:
        if window < 1:
            raise UserError(f"data.window={window} must be at least 1.")
        self.window, self.disk_gigabytes = window, disk_gigabytes
        super().__init__(root, size, batch_size, seed=seed, workers=workers, augment=augment)

    def find(self, root: object, *_: float) -> tuple[Shards, dict[Split, list[str]]]:
        shards = Shards(storage_at(str(root), int(self.disk_gigabytes * 1e9)))
        lengths = shards.index.lengths
        needed = min(self.window + AHEAD + 1, len(lengths)) * int(lengths.max())
        if isinstance(shards.storage, ShardBucket) and needed > shards.storage.limit:
            raise UserError(
                f"data.disk_gigabytes={self.disk_gigabytes:g} is too small: data.window={self.window} shards and those"
                f" fetched ahead take {needed / 1e9:.3g} GB."
            )
        return shards, {split: shards.names(split) for split in ("train", "val", "test")}

    def files(self, split: Part) -> Sequence[str]:
        """Return the names of a split's photographs in the order of storage, so that each shard is read once."""
        return list(chain(*self.names.values())) if split == "all" else self.names[split]

    def _order(self, processes: int, rank: int) -> EpochOrder:
        return ShardOrder(self.photographs["train"], self.root, self.window, processes, rank, self.seed)


class ShardOrder(DrawnOrder):
    """The order of an epoch in which only about `window` shards are needed at a time.

    The shards follow each other in an order drawn for the epoch, and the photographs of each are spread
    evenly over the time of the next `window` shards. So shards are fetched at an even pace, each once
    per epoch and machine, and a batch is drawn from `window` shards. This is slightly less random than
    a draw from all shards: photographs in the same shard meet within a window in each epoch. It does not
    matter where shards are random samples themselves, as `colorlab.shards` makes them of folders. Up to `window`
    shards are shuffled as a whole.

    The order depends on the seed and the epoch alone, and processes take turns in it: they share a
    global batch, whatever their number. Each machine fetches every shard.

    Args:
        dataset: the training photographs, in the order in which they are stored.
        shards: where they are.
        window: as above.
        processes, rank, seed: DistributedSampler's num_replicas, rank and seed.
    """

    def __init__(self, dataset: Photographs, shards: Shards, window: int, processes: int, rank: int, seed: int) -> None:
        super().__init__(dataset, processes, rank, seed=seed)
        self.shards, self.window = shards, window
        _, self._shard_of = shards.locate("train")

    def __iter__(self) -> Iterator[int]:
        return self._fetching(self.share()) if isinstance(self.shards.storage, ShardBucket) else super().__iter__()

    def draw(self) -> np.ndarray:
        """Return all photographs in the epoch's order: [N] int64."""
        random = np.random.RandomState((self.seed, self.epoch))  # draws the same in every version of numpy
        return grouped_permutation(self._shard_of, self.window, random)

    def _fetching(self, indices: np.ndarray) -> Iterator[int]:
        """Yield the indices, and start to fetch each shard shortly before its first photograph is due."""
        _, firsts = np.unique(self._shard_of[indices], return_index=True)
        firsts.sort()
        coming = self._shard_of[indices[firsts]].tolist()
        fetched = due = 0
        for place, index in enumerate(indices):
            if due < len(firsts) and place == firsts[due]:
                due += 1
                for shard in coming[fetched : due + AHEAD]:
                    threading.Thread(target=self._fetch, args=(shard,), daemon=True).start()
                fetched = max(fetched, due + AHEAD)
            yield int(index)

    def _fetch(self, shard: int) -> None:
        with suppress(UserError):  # the reader of the shard meets the same error, and reports it
            self.shards.fetch(shard)
