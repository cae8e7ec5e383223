"""Loaders of photographs: their workers end with the program, and training can resume within an epoch."""

import atexit
import multiprocessing
import multiprocessing.process
import signal
import weakref
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from colorlab.data.order import EpochOrder
from colorlab.data.photographs import Photographs, Pictures


class Loader(DataLoader[Pictures]):
    """A DataLoader whose workers are killed when the program exits, if they are still running.

    Use it with `outlive_first_signal`: multiprocessing sends running workers one SIGTERM at exit, which
    they ignore, and would then wait for them forever.
    """

    def __iter__(self) -> Iterator[Pictures]:  # type: ignore[override]  # torch names a private class
        others = set(multiprocessing.active_children())
        batches = super().__iter__()
        _kill_at_exit(set(multiprocessing.active_children()) - others)
        return batches


def outlive_first_signal(worker: int) -> None:
    """Ignore SIGINT, SIGHUP and the first SIGTERM in a worker, so that the main process can finish its step.

    Ctrl-C, a closed terminal, `timeout` and SLURM signal all processes at once. The main process ends its workers in
    other ways; a second SIGTERM ends them if those fail.
    """
    for number in {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}:  # Windows has no SIGHUP
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


_workers: weakref.WeakSet[multiprocessing.process.BaseProcess] = weakref.WeakSet()


def _kill_at_exit(workers: set[multiprocessing.process.BaseProcess]) -> None:
    if workers:
        _workers.update(workers)
        atexit.unregister(_kill_workers)
        atexit.register(_kill_workers)  # called before multiprocessing's own, which was registered earlier


def _kill_workers() -> None:
    for worker in multiprocessing.active_children():
        if worker in _workers:
            worker.kill()


class ResumableLoader(Loader):
    """A shuffling loader whose state is two numbers: the epoch, and how many batches it has handed out.

    Lightning keeps `state_dict` in its checkpoints. The order of an epoch follows from the seed, so a
    resume only skips: the number of workers may change, and no worker's state is kept. (torchdata's
    StatefulDataLoader keeps it, and after a resume reads the first epoch's order, because Lightning
    starts to read before it sets the sampler's epoch.)

    Args:
        dataset: the photographs.
        batch_size: photographs per batch.
        order: the order of the photographs, and this process's share of it.
        others: DataLoader's other arguments.
    """

    def __init__(self, dataset: Photographs, batch_size: int, order: EpochOrder, **others: Any) -> None:
        super().__init__(dataset, batch_size, sampler=order, **others)
        self._order, self._per_batch = order, batch_size
        self._batch = 0
        self._restored = {"epoch": -1, "batch": 0}

    def __iter__(self) -> Iterator[Pictures]:  # type: ignore[override]  # torch names a private class
        """Iterate over the sampler's epoch; after a resume into that epoch, over the rest of it."""
        resumed = self._restored["epoch"] == self._order.epoch
        self._batch = self._restored["batch"] if resumed else 0
        self._restored["epoch"] = -1
        self._order.skip = self._batch * self._per_batch
        for batch in super().__iter__():
            self._batch += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._order.epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._restored = dict(state_dict)
