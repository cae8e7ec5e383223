"""How many pairs a person sees, and how they are drawn."""

import itertools
import random
from collections import Counter

import pytest

from colorlab.study.trials import VIGILANCE, Protocol, draw_trials, fit_protocol

PROTOCOL = Protocol(practice=4, counted=20, vigilance=2)
MODELS = ["first", "second", "third"]


@pytest.mark.parametrize("seed", range(5))
def test_photographs_occur_once_and_models_and_sides_equally_often(seed: int) -> None:
    trials = draw_trials(PROTOCOL, list(range(30)), MODELS, random.Random(seed))
    assert [kind == "practice" for kind, *_ in trials] == [True] * 4 + [False] * 20
    assert Counter(kind for kind, *_ in trials) == {"practice": 4, "counted": 18, "vigilance": 2}
    photographs = [photograph for _, photograph, _, _ in trials]
    assert len(set(photographs)) == 24
    assert Counter(model for kind, _, model, _ in trials if kind == "counted") == dict.fromkeys(MODELS, 6)
    assert {model for kind, _, model, _ in trials if kind == "vigilance"} == {VIGILANCE}
    assert Counter(side for *_, side in trials) == {"left": 12, "right": 12}


def test_order_models_and_sides_are_random() -> None:
    drawn = [tuple(draw_trials(PROTOCOL, list(range(30)), MODELS, random.Random(seed))) for seed in range(40)]
    assert len(set(drawn)) == 40
    vigilance = {place for trials in drawn for place, (kind, *_) in enumerate(trials) if kind == "vigilance"}
    assert len(vigilance) > 15
    first_sides = Counter(trials[4][3] for trials in drawn)
    assert min(first_sides.values()) > 8


@pytest.mark.parametrize(
    ("practice", "counted", "photographs", "expected"),
    [
        (10, 40, 50, Protocol(10, 40, 4)), (10, 40, 49, Protocol(9, 40, 4)), (10, 40, 30, Protocol(6, 24, 2)),
        (10, 40, 3, Protocol(0, 3, 0)), (10, 5, 12, Protocol(7, 5, 0)), (50, 10, 20, Protocol(10, 10, 1)),
        (0, 7, 5, Protocol(0, 5, 0)),
    ],
)  # fmt: skip
def test_few_photographs_shorten_the_study(practice: int, counted: int, photographs: int, expected: Protocol) -> None:
    assert fit_protocol(practice, counted, 0.1, photographs) == expected


def test_a_shortened_study_uses_all_photographs_and_asks_at_most_what_was_set() -> None:
    for practice, counted, photographs in itertools.product(range(9), range(1, 9), range(1, 20)):
        fitted = fit_protocol(practice, counted, 0.1, photographs)
        assert fitted.practice <= practice
        assert 1 <= fitted.counted <= counted
        assert fitted.practice + fitted.counted == min(practice + counted, photographs)
