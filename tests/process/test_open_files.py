"""The limit on open files."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from colorlab.errors import Stopped, UserError
from colorlab.process.open_files import ENOUGH, enough_open_files, raise_limit, workers_within_limit


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """Restore this process's limit after the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_limit_is_raised(limit: tuple[int, int]) -> None:
    _, hard = limit
    if hard != resource.RLIM_INFINITY and hard < 200:
        pytest.skip("needs a system that allows it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    raise_limit()
    raised, same = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raised == (ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard))
    assert same == hard


def open_without_end(opened: ExitStack) -> None:
    while True:
        opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def test_data_workers_need_open_files(limit: tuple[int, int]) -> None:
    _, hard = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    assert [workers_within_limit(given, default=8) for given in (None, 0, 2)] == [2, 0, 2]
    with pytest.raises(UserError) as refused:
        workers_within_limit(3, default=8)
    assert str(refused.value) == (
        "data.workers=3 needs more open files than the limit of 100 allows:"
        " ulimit -n 4096 raises it, and data.workers=2 needs fewer."
    )


def test_too_many_open_files_are_told_in_one_sentence(limit: tuple[int, int]) -> None:
    _, hard = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    with pytest.raises(Stopped) as stopped, enough_open_files(), ExitStack() as opened:
        open_without_end(opened)
    assert str(stopped.value).startswith("Too many files are open (the limit is 64): ulimit -n 4096 raises it")
    with pytest.raises(OSError, match="other"), enough_open_files():
        raise OSError("other")
