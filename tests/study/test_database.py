"""Participants and their answers: in order, on disk, and each taken once."""

import sqlite3
from pathlib import Path

import pytest

from colorlab.errors import UserError
from colorlab.study.database import StudyDatabase, TrialNotOpen
from colorlab.study.trials import Protocol

PROTOCOL = Protocol(practice=4, counted=20, vigilance=2)
MODELS = ["first", "second", "third"]


@pytest.fixture
def database(tmp_path: Path) -> StudyDatabase:
    return StudyDatabase(tmp_path / "answers.sqlite")


def begin(database: StudyDatabase, seed: int = 0) -> str:
    return database.begin(PROTOCOL, list(range(30)), MODELS, seed)


def test_trials_are_asked_in_order_until_all_are_answered(database: StudyDatabase) -> None:
    token = begin(database)
    for place in range(24):
        trial = database.open_trial(token)
        assert trial.place == place
        database.add_answer(token, trial.id, "left", 1000, 300)
    assert database.open_trial(token) is None
    assert [answer.fooled for answer in database.answers(token)] == [
        answer.trial.fake == "right" for answer in database.answers(token)
    ]


def test_only_the_open_trial_can_be_answered_and_only_once(database: StudyDatabase) -> None:
    token, other = begin(database), begin(database)
    first = database.open_trial(token)
    database.add_answer(token, first.id, "left", 1000, 300)
    for asker, trial in (
        (token, first.id), (token, database.open_trial(token).id + 1), (token, database.open_trial(other).id),
        ("nobody", database.open_trial(token).id), (None, database.open_trial(token).id), (token, 10_000),
    ):  # fmt: skip
        with pytest.raises(TrialNotOpen):
            database.add_answer(asker, trial, "right", 1000, 300)
    assert len(database.answers()) == 1


def test_participants_get_different_trials_and_the_seed_reproduces_them(tmp_path: Path) -> None:
    def questions(name: str, seed: int) -> list[list[tuple]]:
        database = StudyDatabase(tmp_path / name)
        tokens = [begin(database, seed), begin(database, seed)]
        for token in tokens:
            while (trial := database.open_trial(token)) is not None:
                database.add_answer(token, trial.id, "left", 1000, 300)
        trials = [[answer.trial for answer in database.answers(token)] for token in tokens]
        return [[(trial.photograph, trial.model, trial.fake) for trial in own] for own in trials]

    one, again, other = questions("one", 0), questions("again", 0), questions("other", 1)
    assert one == again != other
    assert one[0] != one[1]


def test_who_leaves_early_has_not_finished(database: StudyDatabase) -> None:
    tokens = [begin(database) for _ in range(3)]
    for token, count in zip(tokens, (24, 23, 0), strict=True):
        for _ in range(count):
            database.add_answer(token, database.open_trial(token).id, "left", 1000, 300)
    assert database.finished() == {1}


def test_a_study_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """It has no table of when pairs were asked."""
    token = begin(before := StudyDatabase(tmp_path / "old.sqlite"))
    before.close()
    with sqlite3.connect(tmp_path / "old.sqlite") as database:
        database.execute("DROP TABLE asked")
    database = StudyDatabase(tmp_path / "old.sqlite")
    trial = database.open_trial(token)
    assert database.seconds_since_asked(trial.id) is None
    database.ask(trial.id)
    assert database.seconds_since_asked(trial.id) < 60


def test_an_added_answer_is_on_disk(database: StudyDatabase, tmp_path: Path) -> None:
    token = begin(database)
    database.add_answer(token, database.open_trial(token).id, "right", 998.5, 412)
    elsewhere = sqlite3.connect(tmp_path / "answers.sqlite")
    assert elsewhere.execute("SELECT side, exposure_ms, response_ms FROM answers").fetchall() == [("right", 998.5, 412)]
    assert StudyDatabase(tmp_path / "answers.sqlite").open_trial(token).place == 1


def test_the_addresses_of_pictures_are_unique(database: StudyDatabase) -> None:
    token = begin(database)
    words = []
    while (trial := database.open_trial(token)) is not None:
        words += [trial.left, trial.right]
        database.add_answer(token, trial.id, "left", 1000, 300)
    assert len(set(words)) == len(words) == 48
    assert min(map(len, words)) >= 24


def test_a_damaged_database_is_refused_and_left_as_it_is(database: StudyDatabase, tmp_path: Path) -> None:
    for seed in range(3):
        begin(database, seed)
    database.close()
    path = tmp_path / "answers.sqlite"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], bytes(4096) + whole[4096:], whole[:4096] + bytes(8192) + whole[12288:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"answers\.sqlite is damaged \(.*\): move it away"):
            StudyDatabase(path)
        assert path.read_bytes() == damaged
