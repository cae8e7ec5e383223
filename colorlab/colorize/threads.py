"""Threads that work on pictures beside the thread of the network."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def picture_threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads in which an operation of torch uses one core, and shut it down after the block.

    `torch.set_num_threads` sets the number for the calling thread, and for every thread of the process whose first
    operation comes later. So the number of the thread that calls this is fixed before, and restored for others after:
    the number decides which algorithm torch chooses and in which order it sums, so the result in the last bits.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, name, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
