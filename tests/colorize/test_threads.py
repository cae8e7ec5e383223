"""Threads that work on pictures."""

import threading
from collections.abc import Iterator

import pytest
import torch

from colorlab.colorize.threads import picture_threads


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("_two_threads")
def test_only_the_threads_of_the_pool_use_one_core_each() -> None:
    assert threads_of_a_new_thread() == 2
    with picture_threads(3, "picture") as pool:
        assert [pool.submit(torch.get_num_threads).result() for _ in range(3)] == [1, 1, 1]
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2
    assert threads_of_a_new_thread() == 2
