"""ShardedDataModule: photographs in shards, as ColorDataModule has them from a folder."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import numpy as np

from colorlab.data.batch import RandomCropFlip
from colorlab.data.datamodule import ColorDataModule
from colorlab.data.loader import Order
from colorlab.data.object_store import Bucket, store_at
from colorlab.data.photographs import Part, Photographs, Split
from colorlab.data.shard_index import Shards
from colorlab.errors import UserError

AHEAD = 3
"""How many shards are fetched before their first photograph is due."""


class ShardedDataModule(ColorDataModule):
    """Shards, in a folder or a bucket, as batches of (L, ab).

    Which photographs train and which judge was decided when the shards were written.

    Args:
        root: a folder of shards, or its URL in an object store: s3://bucket/folder.
        size, batch_size, seed, workers, augment: as in ColorDataModule.
        window: how many shards are mixed at a time; see `ShardOrder`.
        disk_gigabytes: how much of the local disk the copies of buckets' shards may take.

    Raises:
        UserError: there are no shards or not all of them, or the disk's share is too small for the window.
    """

    def __init__(
        self,
        root: str,
        size: int | None = 256,
        batch_size: int = 32,
        seed: int = 0,
        workers: int | None = None,
        augment: RandomCropFlip | None = None,
        window: int = 16,
        disk_gigabytes: float = 20.0,
    ) -> None:
        if window < 1:
            raise UserError(f"data.window={window} must be at least 1.")
        self.window, self.disk_gigabytes = window, disk_gigabytes
        super().__init__(root, size, batch_size, seed=seed, workers=workers, augment=augment)

    def _find(self, root: str, *_: float) -> tuple[Shards, dict[Split, list[str]]]:
        shards = Shards(store_at(root, int(self.disk_gigabytes * 1e9)))
        lengths = shards.index.lengths
        wanted = min(self.window + AHEAD + 1, len(lengths)) * int(lengths.max())
        if isinstance(shards.store, Bucket) and wanted > shards.store.limit:
            raise UserError(
                f"data.disk_gigabytes={self.disk_gigabytes:g} is too small: data.window={self.window} shards and those"
                f" fetched ahead take {wanted / 1e9:.3g} GB."
            )
        return shards, {split: shards.names(split) for split in ("train", "val", "test")}

    def files(self, split: Part) -> list[str]:
        """The names of a split's photographs, in the order in which they are stored: each shard is read once."""
        return list(chain(*self.names.values())) if split == "all" else self.names[split]

    def _order(self, processes: int, rank: int) -> Order:
        place = {"num_replicas": processes, "rank": rank, "seed": self.seed}
        return ShardOrder(self.photographs["train"], self.root, self.window, **place)


class ShardOrder(Order):
    """The order of an epoch in which only about `window` shards are needed at a time.

    Shards come in an order drawn for the epoch, one after the other, and the photographs of each are
    strewn evenly over the next `window` shards' time. So shards are fetched at an even pace, each
    once an epoch and machine, and a batch is drawn from `window` shards. That is a little less
    random than a draw from all of them, and no matter where shards are random samples themselves,
    as `colorlab.shards` deals them. What stays: photographs that share a shard meet within a window
    in each epoch. Up to `window` shards are shuffled as a whole.

    The order depends on the seed and the epoch alone, and processes take turns in it: they share a
    global batch, whatever their number. Each machine fetches every shard.

    Args:
        dataset: the training photographs, in the order in which they are stored.
        shards: where they lie.
        window: as above.
        place: DistributedSampler's num_replicas, rank and seed.
    """

    def __init__(self, dataset: Photographs, shards: Shards, window: int, **place: int) -> None:
        super().__init__(dataset, **place)
        self.shards, self.window = shards, window
        _, self._shard_of = shards.of("train")

    def __iter__(self) -> Iterator[int]:
        indices = np.resize(self._draw(), self.total_size)[self.rank :: self.num_replicas][self.skip :]
        return self._fetching(indices) if isinstance(self.shards.store, Bucket) else map(int, indices)

    def _draw(self) -> np.ndarray:
        """All photographs in the epoch's order: [N]."""
        chance = np.random.RandomState((self.seed, self.epoch))  # draws alike in every version of numpy
        shards, shard_of = np.unique(self._shard_of, return_inverse=True)
        if len(shards) <= self.window:
            return chance.permutation(len(shard_of))
        turns = chance.permutation(len(shards))[shard_of]
        return np.argsort(turns + self.window * chance.random_sample(len(shard_of)), kind="stable")

    def _fetching(self, indices: np.ndarray) -> Iterator[int]:
        """Hand out indices; meanwhile, shards whose first is near are fetched."""
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
        with suppress(UserError):  # who needs the shard will meet it too, and say so
            self.shards.fetch(shard)
