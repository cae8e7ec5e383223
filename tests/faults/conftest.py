"""Count injected faults, and how many of them were survived.

`make faults` sets FAULTS to a file, to which every test adds a line; `table.py` writes docs/reliability.md from it.
Without FAULTS, as in `make test`, each fault is injected only a few times.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RECORD = os.environ.get("FAULTS")


class Tally:
    """How often a fault was injected, and how often nothing was lost.

    Attributes:
        fault: what happens, as a row of the table names it.
        injected: the number of injections.
        survived: the number of injections after which the test's assertions held.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self.injected = self.survived = 0

    @staticmethod
    def times(quick: int, full: int) -> int:
        """Return how often to inject the fault: `quick` in `make test`, `full` in `make faults`."""
        return full if RECORD else quick

    @contextmanager
    def injecting(self, fault: str, times: int = 1) -> Iterator[None]:
        """Count the block as one injection, or `times`; the block also asserts that nothing was lost.

        Args:
            fault: what happens, in the words of the table; the same throughout a test.
        """
        assert self.fault in (None, fault), "a test injects one fault"
        self.fault = fault
        self.injected += times
        yield
        self.survived += times


@pytest.fixture
def tally() -> Iterator[Tally]:
    """Count the injections of a test, and record them in `make faults`."""
    count = Tally()
    yield count
    if RECORD and count.injected:
        with Path(RECORD).open("a") as file:
            file.write(json.dumps(vars(count)) + "\n")
