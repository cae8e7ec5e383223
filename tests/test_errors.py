"""Messages made of exceptions, paths and unknown words."""

import pytest

from colorlab.errors import UserError, printable, reason_of


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


def test_a_printable_path_stays_on_one_line() -> None:
    assert printable("größe_写真/a\nb\udcff.jpg") == r"größe_写真/a\nb\udcff.jpg"
