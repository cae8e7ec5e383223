"""Messages made of exceptions, paths and unknown words."""

import logging
import pickle
import signal

import pytest

from colorlab.errors import Interrupted, Preempted, PrintableFormatter, UserError, how_to_install, printable, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines "), "two lines"),
        (UserError("Nothing to color."), "Nothing to color."),
        (KeyError(), "KeyError"),
        (OSError("Caught OSError in DataLoader worker process 0.\nTraceback …\nOSError: is torn"), "is torn"),
    ],
)
def test_the_reason_of_an_exception_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize("stop", [Interrupted(signal.SIGTERM), Interrupted(signal.SIGINT), Preempted()])
def test_a_stop_is_the_same_after_its_way_from_a_launchers_process(stop: Interrupted) -> None:
    sent = pickle.loads(pickle.dumps(stop))
    assert (type(sent), sent.code, sent.reason) == (type(stop), stop.code, stop.reason)


def test_a_printable_path_stays_on_one_line() -> None:
    assert printable("größe_写真/a\nb\udcff.jpg") == r"größe_写真/a\nb\udcff.jpg"


def test_the_log_holds_no_control_characters() -> None:
    record = logging.LogRecord(
        "name", logging.WARNING, "", 0, "%s cannot be read\nat all", ("a\x1b[2J\udcff.jpg",), None
    )
    assert PrintableFormatter("%(message)s").format(record) == "a\\x1b[2J\\udcff.jpg cannot be read\nat all"


def test_what_an_extra_needs_is_installed_by_the_names_of_its_packages() -> None:
    assert how_to_install("export") == "pip install onnx onnxruntime onnxscript"
    assert how_to_install("video") == "pip install av"
