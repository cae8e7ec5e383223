"""A DataLoader that can go on in the middle of an epoch."""

import atexit
import multiprocessing.util  # before what is registered here, so that it comes after that
import signal
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler


def outlive_first_signal(worker: int) -> None:
    """Keep a worker until its parent has ended the step: Ctrl-C, `timeout` and SLURM tell all processes at once.

    Its parent tells it to end in other ways; and twice, where these do not help.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@atexit.register
def end_workers() -> None:
    """End the workers that an exception left, which multiprocessing would ask once, and then wait for without end."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


class Order(DistributedSampler):
    """The order of an epoch, a function of the seed and the epoch alone, without its first `skip`."""

    skip = 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.skip, None)


class ResumableLoader(DataLoader):
    """A shuffling DataLoader whose place is two numbers: the epoch, and the batches it handed out.

    Lightning keeps `state_dict` in its checkpoints. Because the order of an epoch follows from the
    seed, skipping is all a resume has to do: the number of workers may change, and no worker's
    state is kept (torchdata's StatefulDataLoader keeps it, and on a resume reads the first epoch's
    order, since Lightning begins to read before it tells the sampler its epoch).

    Args:
        dataset, batch_size: as for DataLoader.
        order: of the pictures, and this process's share of them.
        others: DataLoader's other arguments.
    """

    def __init__(self, dataset: Any, batch_size: int, order: Order, **others: Any) -> None:
        super().__init__(dataset, batch_size, sampler=order, **others)
        self._batch = 0
        self._restored = {"epoch": -1, "batch": 0}

    def __iter__(self) -> Iterator[Any]:
        """The rest of the sampler's epoch after a resume into it, else the whole of it."""
        resumed = self._restored["epoch"] == self.sampler.epoch
        self._batch = self._restored["batch"] if resumed else 0
        self._restored["epoch"] = -1
        self.sampler.skip = self._batch * self.batch_size
        for batch in super().__iter__():
            self._batch += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.sampler.epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._restored = dict(state_dict)
