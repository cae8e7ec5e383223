"""The SQLite database of a study's participants, trials and answers.

participants   a person, known by a random token in a cookie
asked          when each pair was first shown to the page
trials         the pairs that a person is asked about, in order, drawn when the person begins
answers        one for each answered trial, written before the page is told that the answer was taken
"""

import random
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from colorlab.errors import UserError, reason_of
from colorlab.study.trials import Answer, Kind, Protocol, Side, Trial, draw_trials

SCHEMA = """
CREATE TABLE IF NOT EXISTS participants (
    id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, began TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS trials (
    id INTEGER PRIMARY KEY,
    participant INTEGER NOT NULL REFERENCES participants,
    place INTEGER NOT NULL,
    kind TEXT NOT NULL,
    photograph INTEGER NOT NULL,
    model TEXT NOT NULL,
    fake TEXT NOT NULL,
    left TEXT NOT NULL UNIQUE,
    right TEXT NOT NULL UNIQUE,
    UNIQUE (participant, place)
);
CREATE TABLE IF NOT EXISTS asked (trial INTEGER PRIMARY KEY REFERENCES trials, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    trial INTEGER PRIMARY KEY REFERENCES trials,
    side TEXT NOT NULL,
    exposure_ms REAL NOT NULL,
    response_ms REAL NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


class TrialNotOpen(Exception):
    """An answer to a trial that is not the participant's open one, or is answered already."""


class StudyDatabase:
    """Participants, trials and answers, safe to use from several threads.

    Args:
        path: the database file; created if it does not exist.

    Raises:
        UserError: the file is damaged, or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # a committed answer survives a power failure
            self._database.execute("PRAGMA foreign_keys = ON")
            (state,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            self._database.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise UserError(
                f"{path} is damaged ({reason_of(error)}): move it away to begin again without its answers."
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def begin(self, protocol: Protocol, photographs: list[int], models: list[str], seed: int) -> str:
        """Add a participant, draw their trials, and return their token."""
        token = secrets.token_urlsafe(24)
        with self._transaction() as database:
            participant = database.execute("INSERT INTO participants (token) VALUES (?)", (token,)).lastrowid
            trials = draw_trials(protocol, photographs, models, random.Random(f"{seed}:{participant}"))
            database.executemany(
                "INSERT INTO trials (participant, place, kind, photograph, model, fake, left, right)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (participant, place, *trial, secrets.token_urlsafe(18), secrets.token_urlsafe(18))
                    for place, trial in enumerate(trials)
                ],
            )
        return token

    def has_participant(self, token: str | None) -> bool:
        """Return whether a token belongs to a participant."""
        return bool(self._rows("SELECT 1 FROM participants WHERE token = ?", token))

    def open_trial(self, token: str | None) -> Trial | None:
        """Return the first trial that a participant has not answered; None if there is none."""
        rows = self._rows(
            "SELECT trials.* FROM trials JOIN participants ON participants.id = trials.participant"
            " LEFT JOIN answers ON answers.trial = trials.id"
            " WHERE token = ? AND answers.trial IS NULL ORDER BY place LIMIT 1",
            token,
        )
        return Trial(*rows[0]) if rows else None

    def ask(self, trial: int) -> None:
        """Note that a trial is shown now, unless it was shown before."""
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO asked (trial, at) VALUES (?, ?)", (trial, time.time()))

    def seconds_since_asked(self, trial: int) -> float | None:
        """Return how long ago a trial was first shown; None if it was not."""
        rows = self._rows("SELECT at FROM asked WHERE trial = ?", trial)
        return abs(time.time() - rows[0][0]) if rows else None  # the clock may have been set

    def finished(self) -> set[int]:
        """Return the participants who have answered all their trials."""
        rows = self._rows(
            "SELECT participant FROM trials LEFT JOIN answers ON answers.trial = trials.id"
            " GROUP BY participant HAVING COUNT(*) = COUNT(answers.trial)"
        )
        return {participant for (participant,) in rows}

    def count_trials(self, token: str | None, kind: Kind | None = None) -> int:
        """Count a participant's trials, of one kind or of all."""
        rows = self._rows(
            "SELECT COUNT(*) FROM trials JOIN participants ON participants.id = trials.participant"
            " WHERE token = ? AND (? IS NULL OR kind = ?)",
            token, kind, kind,
        )  # fmt: skip
        return rows[0][0]

    def add_answer(self, token: str | None, trial: int, side: Side, exposure_ms: float, response_ms: float) -> Trial:
        """Add the answer to the participant's open trial, and return the trial.

        Raises:
            TrialNotOpen: the trial is not the participant's open one.
        """
        open_trial = self.open_trial(token)
        if open_trial is None or open_trial.id != trial:
            raise TrialNotOpen
        with self._transaction() as database:
            try:
                database.execute(
                    "INSERT INTO answers (trial, side, exposure_ms, response_ms) VALUES (?, ?, ?, ?)",
                    (trial, side, exposure_ms, response_ms),
                )
            except sqlite3.IntegrityError as error:  # the same answer was sent twice at once
                raise TrialNotOpen from error
        return open_trial

    def answers(self, token: str | None = None) -> list[Answer]:
        """Return all answers, or those of one participant, in the order of the trials."""
        rows = self._rows(
            "SELECT trials.*, side, exposure_ms, response_ms FROM trials JOIN answers ON answers.trial = trials.id"
            " JOIN participants ON participants.id = trials.participant"
            " WHERE ? IS NULL OR token = ? ORDER BY participant, place",
            token, token,
        )  # fmt: skip
        return [Answer(Trial(*row[:9]), *row[9:]) for row in rows]

    def _rows(self, query: str, *values: object) -> list[tuple]:
        with self._lock:
            return self._database.execute(query, values).fetchall()
