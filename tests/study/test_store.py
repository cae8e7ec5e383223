"""Who is asked what, and that no answer is lost or taken twice."""

import itertools
import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from colorlab.study.store import VIGILANCE, NotAsked, Protocol, Store, draw_trials, fit_protocol

PROTOCOL = Protocol(practice=4, counted=20, vigilance=2)
MODELS = ["first", "second", "third"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "answers.sqlite")


def begin(store: Store, seed: int = 0) -> str:
    return store.begin(PROTOCOL, list(range(30)), MODELS, seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_person_sees_each_photograph_once_and_the_models_and_sides_equally_often(seed: int) -> None:
    trials = draw_trials(PROTOCOL, list(range(30)), MODELS, random.Random(seed))
    assert [kind == "practice" for kind, *_ in trials] == [True] * 4 + [False] * 20
    assert Counter(kind for kind, *_ in trials) == {"practice": 4, "counted": 18, "vigilance": 2}
    photographs = [photograph for _, photograph, _, _ in trials]
    assert len(set(photographs)) == 24
    assert Counter(model for kind, _, model, _ in trials if kind == "counted") == dict.fromkeys(MODELS, 6)
    assert {model for kind, _, model, _ in trials if kind == "vigilance"} == {VIGILANCE}
    assert Counter(side for *_, side in trials) == {"left": 12, "right": 12}


def test_order_models_and_sides_are_by_chance() -> None:
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
def test_few_photographs_make_a_short_study(practice: int, counted: int, photographs: int, expected: Protocol) -> None:
    assert fit_protocol(practice, counted, 0.1, photographs) == expected


def test_a_short_study_never_asks_more_than_was_wished_nor_leaves_photographs_unused() -> None:
    for practice, counted, photographs in itertools.product(range(9), range(1, 9), range(1, 20)):
        fitted = fit_protocol(practice, counted, 0.1, photographs)
        assert fitted.practice <= practice
        assert 1 <= fitted.counted <= counted
        assert fitted.practice + fitted.counted == min(practice + counted, photographs)


def test_the_questions_come_in_order_until_all_are_answered(store: Store) -> None:
    token = begin(store)
    for place in range(24):
        trial = store.open_trial(token)
        assert trial.place == place
        store.answer(token, trial.id, "left", 1000, 300)
    assert store.open_trial(token) is None
    assert [answer.fooled for answer in store.answers(token)] == [
        answer.trial.fake == "right" for answer in store.answers(token)
    ]


def test_only_the_open_question_takes_an_answer_and_only_once(store: Store) -> None:
    token, other = begin(store), begin(store)
    first = store.open_trial(token)
    store.answer(token, first.id, "left", 1000, 300)
    for asker, trial in (
        (token, first.id), (token, store.open_trial(token).id + 1), (token, store.open_trial(other).id),
        ("nobody", store.open_trial(token).id), (None, store.open_trial(token).id), (token, 10_000),
    ):  # fmt: skip
        with pytest.raises(NotAsked):
            store.answer(asker, trial, "right", 1000, 300)
    assert len(store.answers()) == 1


def test_two_people_are_asked_different_things_and_the_seed_repeats_a_study(tmp_path: Path) -> None:
    def questions(name: str, seed: int) -> list[list[tuple]]:
        store = Store(tmp_path / name)
        tokens = [begin(store, seed), begin(store, seed)]
        for token in tokens:
            while (trial := store.open_trial(token)) is not None:
                store.answer(token, trial.id, "left", 1000, 300)
        return [[(a.trial.photograph, a.trial.model, a.trial.fake) for a in store.answers(token)] for token in tokens]

    one, again, other = questions("one", 0), questions("again", 0), questions("other", 1)
    assert one == again != other
    assert one[0] != one[1]


def test_an_answer_is_on_disk_when_it_has_been_taken(store: Store, tmp_path: Path) -> None:
    token = begin(store)
    store.answer(token, store.open_trial(token).id, "right", 998.5, 412)
    elsewhere = sqlite3.connect(tmp_path / "answers.sqlite")
    assert elsewhere.execute("SELECT side, exposure_ms, response_ms FROM answers").fetchall() == [("right", 998.5, 412)]
    assert Store(tmp_path / "answers.sqlite").open_trial(token).place == 1


def test_the_addresses_of_pictures_repeat_nowhere(store: Store) -> None:
    token = begin(store)
    words = []
    while (trial := store.open_trial(token)) is not None:
        words += [trial.left, trial.right]
        store.answer(token, trial.id, "left", 1000, 300)
    assert len(set(words)) == len(words) == 48
    assert min(map(len, words)) >= 24
