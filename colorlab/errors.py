"""The one exception whose message is meant for the person at the keyboard."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user asked for cannot be done; the message says what was wrong and what to do.

    Commands print the message alone and exit with code 2: no traceback.
    """


def did_you_mean(word: str, known: Iterable[str], prefix: str = "", few: bool = False) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them; both if they are few."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    choices = f"choose from: {', '.join(known)}."
    return (f"did you mean {prefix}{near[0]}?" + f" Else {choices}" * few) if near else choices
