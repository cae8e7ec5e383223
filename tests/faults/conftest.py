"""What the fault-injection suite shares: how often a fault is injected, and the count of what survived it.

`make faults` sets FAULTS to a file; every test adds its line there, and `table.py` makes the README's table of it.
Without it the tests here are the quick part, in `make test`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RECORD = os.environ.get("FAULTS")


class Tally:
    """How often a fault was injected, and how often all that must not be lost was still there afterwards."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.injected = self.survived = 0

    @staticmethod
    def times(quick: int, full: int) -> int:
        """How often to inject a fault: `quick` in `make test`, `full` in `make faults`."""
        return full if RECORD else quick

    @contextmanager
    def injecting(self, fault: str, times: int = 1) -> Iterator[None]:
        """Around one injection (or `times` at once) and the assertions on what came of it.

        Args:
            fault: what happens, as the table's readers would say it; the same through the whole test.
        """
        assert self.fault in (None, fault), "a test injects one fault"
        self.fault = fault
        self.injected += times
        yield
        self.survived += times


@pytest.fixture
def tally() -> Iterator[Tally]:
    count = Tally()
    yield count
    if RECORD and count.injected:
        with Path(RECORD).open("a") as file:
            file.write(json.dumps(vars(count)) + "\n")
