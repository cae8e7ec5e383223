"""The order of the training photographs in an epoch; it depends on the seed and the epoch alone."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, DistributedSampler


class EpochOrder(DistributedSampler):
    """The order of an epoch, without its first `skip` entries."""

    epoch: int
    skip = 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.skip, None)


class DrawnOrder(EpochOrder):
    """An order that a subclass draws for all processes, which take turns in it: they share a global batch."""

    def draw(self) -> np.ndarray:
        """Return all entries of the epoch in order: [N] int64."""
        raise NotImplementedError

    def share(self) -> np.ndarray:
        """Return what is left of this process's entries: [n] int64."""
        return np.resize(self.draw(), self.total_size)[self.rank :: self.num_replicas][self.skip :]

    def __iter__(self) -> Iterator[int]:
        return map(int, self.share())


def grouped_permutation(groups: np.ndarray, window: int, random: np.random.RandomState) -> np.ndarray:
    """Return a random order in which only about `window` groups are needed at a time: [N] int64.

    The groups follow each other in a random order, and the entries of each are spread evenly over the time of the next
    `window` groups. If there are no more groups than that, all entries are shuffled as a whole.

    Args:
        groups: [N] int64, the group of each entry; entries without one, -1, may come at any time.
        window: how many groups to mix.
        random: what is drawn from.
    """
    found, group_of = np.unique(groups, return_inverse=True)
    if len(found) <= window:
        return random.permutation(len(groups))
    turns = random.permutation(len(found))[group_of]
    time = turns + window * random.random_sample(len(groups))
    free = groups < 0
    time[free] = (len(found) + window) * random.random_sample(free.sum())
    return np.argsort(time, kind="stable")


class Share(NamedTuple):
    """Some of the training photographs, which follow each other, and how often they are shown."""

    photographs: int  # how many there are
    weight: float  # how often each is shown in an epoch: 0.5 is half of them once

    @property
    def shown(self) -> int:
        """How many photographs of these an epoch shows."""
        return round(self.photographs * self.weight)


class WeightedOrder(DrawnOrder):
    """The order of an epoch that shows some photographs more often than others, and reads few groups at a time.

    Entries are photographs; one that is shown again has `len(dataset)` added for each earlier time.

    Args:
        dataset: the training photographs.
        shares: which of them are shown how often, in the dataset's order.
        groups: [N] int64, photographs that are read together; -1 is alone.
        window: how many groups are mixed at a time; see `grouped_permutation`.
        processes, rank, seed: DistributedSampler's num_replicas, rank and seed.
    """

    def __init__(
        self,
        dataset: Dataset,
        shares: Sequence[Share],
        groups: np.ndarray,
        window: int,
        processes: int,
        rank: int,
        seed: int,
    ) -> None:
        super().__init__(dataset, processes, rank, seed=seed)
        self.shares, self.groups, self.window = shares, groups, window
        self.num_samples = -(-sum(share.shown for share in shares) // processes)
        self.total_size = self.num_samples * processes

    def draw(self) -> np.ndarray:
        random = np.random.RandomState((self.seed, self.epoch))  # draws the same in every version of numpy
        start, shown = 0, []
        for share in self.shares:
            count = share.photographs
            times, rest = divmod(share.shown, count) if count else (0, 0)
            again = len(self.groups) * np.arange(times + 1)
            shown += [start + number + np.arange(count) for number in again[:times]]
            shown.append(start + again[times] + random.permutation(count)[:rest])
            start += count
        entries = np.concatenate(shown)
        groups = self.groups[entries % len(self.groups)]
        return entries[grouped_permutation(groups, self.window, random)]
