"""Count injected faults, and how many of them were survived.

`make faults` sets FAULTS to a file, to which every test adds a line; `table.py` writes docs/reliability.md from it.
Without FAULTS, as in `make test`, each fault is injected only a few times.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.commands import import_command

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


@pytest.fixture
def run_command_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a command in this process and returns its exit code and standard error."""
    from hydra.core.global_hydra import GlobalHydra
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as a program may have done

    def run(command: str, *words: str | Path) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [f"colorlab-{command}", *map(str, words)])
        try:
            import_command(command).main()
        except SystemExit as exit_:
            said = capsys.readouterr().err
            assert "Traceback" not in said
            return exit_.code or 0, said
        return 0, capsys.readouterr().err

    return run
