"""Standard streams that fail: dropped during long work, the end of a command whose output is its result."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colorlab.colorize.__main__ import main as colorize
from colorlab.command_line import reporting
from colorlab.leaderboard.__main__ import main as leaderboard
from colorlab.process.screen import Screen, take_screens, write_result
from support.image_files import MACAW

Lose = Callable[[], Screen]


def broken_pipe() -> io.TextIOWrapper:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def full_device() -> io.TextIOWrapper:
    return open("/dev/full", "w")


FAILURES = {"Broken pipe": broken_pipe, "No space left on device": full_device}


@pytest.fixture(params=FAILURES)
def lose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Callable, str]]:
    """Return a function that makes a standard stream one that fails, and why it fails.

    A test calls it itself, since pytest replaces the streams after the fixtures.
    """
    opened = []
    monkeypatch.setattr(logging, "raiseExceptions", False)  # handlers of earlier tests print into closed streams

    def replace(name: str = "stdout") -> None:
        opened.append(stream := FAILURES[request.param]())
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, f"__{name}__", stream)

    yield replace, request.param
    for stream in opened:
        if not stream.closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_work_goes_on_without_standard_output_and_says_so_once(
    lose: tuple[Callable, str], capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    (replace, reason), done = lose, []
    replace()
    with reporting(), caplog.at_level(logging.WARNING):
        for number in range(3):
            print(f"line {number}", "x" * 10_000, flush=True)
            done.append(number)
        os.write(sys.stdout.fileno(), b"of a library, or of a process that this one starts")
    assert done == [0, 1, 2]
    sentence = f"Standard output is lost ({reason}): the work goes on without it."
    assert caplog.messages == [sentence]
    assert capsys.readouterr().err == f"colorlab: {sentence}\n"


def test_a_stream_that_was_closed_by_its_owner_is_left_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    stream = broken_pipe()
    screen = Screen(stream, "Standard output")
    screen.write("text")
    stream.close()
    screen.flush()
    assert caplog.messages == []


def test_work_goes_on_without_standard_error(lose: tuple[Callable, str], caplog: pytest.LogCaptureFixture) -> None:
    replace, reason = lose
    replace("stderr")
    with reporting(), caplog.at_level(logging.WARNING):
        print("a line", file=sys.stderr)
        print("another", file=sys.stderr)
    assert caplog.messages == [f"Standard error is lost ({reason}): the work goes on without it."]


def test_a_command_whose_output_is_its_result_ends_with_it(
    lose: tuple[Callable, str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (replace, reason), run = lose, tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_text('{"status": "done"}')
    ended = {
        "Broken pipe": (141, ""),  # quietly, as `ls | head -1`
        "No space left on device": (2, "colorlab: Standard output cannot be written to (No space left on device).\n"),
    }
    for command, words in ((leaderboard, [str(tmp_path)]), (colorize, ["--help"])):
        monkeypatch.setattr(sys, "argv", ["colorlab", *words])
        replace()
        with pytest.raises(SystemExit) as left:
            command()
        assert (left.value.code, capsys.readouterr().err) == ended[reason]
    assert (tmp_path / "leaderboard.csv").is_file()


def test_a_picture_for_standard_output_ends_with_it(
    lose: tuple[Callable, str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (replace, reason) = lose
    monkeypatch.setattr(sys, "argv", ["colorlab", str(MACAW), "-o", "-", "--size", "32"])
    replace()
    with pytest.raises(SystemExit) as left:
        colorize()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    ended = {
        "Broken pipe": (141, []),
        "No space left on device": (1, [f"colorlab: {MACAW}: standard output cannot be written to ({reason})."]),
    }
    assert (left.value.code, said) == ended[reason]


def test_a_stream_that_was_closed_before_the_start_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    take_screens()
    print("a line")
    sys.stdout.close()


def test_a_stream_that_works_is_written_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="latin-1", errors="replace") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        with reporting():
            print("déjà →")
            write_result(b"\x00\xff")
    assert (tmp_path / "out").read_bytes() == "déjà ?".encode("latin-1") + b"\n\x00\xff"
