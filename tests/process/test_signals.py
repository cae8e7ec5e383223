"""The signals that ask a command to stop."""

import os
import signal
import sys

import pytest

from colorlab.command_line import reporting
from colorlab.errors import Interrupted
from colorlab.process.signals import NUMBERS, handling_signals


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (1, "SIGHUP")])
def test_a_signal_ends_a_command_with_one_sentence_and_its_exit_code(
    number: int, name: str, capsys: pytest.CaptureFixture
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as left, reporting(), reporting():
        signal.raise_signal(number)
    assert left.value.code == 128 + number
    assert capsys.readouterr().err == f"colorlab: {name}.\n"
    assert signal.getsignal(number) == before


@pytest.mark.skipif(signal.SIGHUP not in NUMBERS, reason="Windows has no SIGHUP")
def test_an_ignored_sighup_stays_ignored() -> None:
    """As after `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling_signals(lambda *_: pytest.fail("it was handled")):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_is_ended_by_a_signal_as_any_other() -> None:
    with reporting():
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


def test_a_second_signal_ends_a_command_at_once() -> None:
    child = os.fork()
    if not child:
        try:
            with reporting():
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    signal.raise_signal(signal.SIGTERM)  # while what is open is closed
                    sys.stderr.write("it was ignored")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 143
