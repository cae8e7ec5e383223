"""Options of the commands without Hydra: a mistake gets one sentence."""

import sys

import pytest

from colorlab.command_line import Parser, parse_arguments
from colorlab.errors import UserError

MISTAKES = {
    "": "PICTURES, --to are missing: --help shows how the command is used.",
    "a --to png --sizee 3": "--sizee is no option: did you mean --size?",
    "a --to png --frobnicate": "--frobnicate is no option: --help lists them.",
    "a --to png --size big": "--size big must be a whole number.",
    "a --to png --gain x": "--gain x must be a number.",
    "a --to pgn": "--to pgn does not exist: did you mean png? Else choose from: jpg, png.",
    "a --to": "--to: expected one argument.",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_wrong_option_is_answered_in_one_sentence(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = Parser(prog="colorlab-colorize")
    parser.add_argument("pictures", nargs="+", metavar="PICTURES")
    parser.add_argument("--to", choices=("jpg", "png"), required=True)
    parser.add_argument("--size", type=int)
    parser.add_argument("--gain", type=float)
    monkeypatch.setattr(sys, "argv", ["colorlab-colorize", *words.split()])
    with pytest.raises(UserError) as refusal:
        parse_arguments(parser)
    assert str(refusal.value) == MISTAKES[words]
