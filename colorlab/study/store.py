"""Who was asked what, and what they answered: in SQLite, at once.

participants   a person, known by a random token in a cookie
trials         what this person is asked, in order, drawn when they begin
answers        one a trial; written before the person sees that it was taken
"""

import random
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

Side = Literal["left", "right"]
Kind = Literal["practice", "counted", "vigilance"]

VIGILANCE = "random colors"
"""The "model" of the vigilance pairs, whose fakes everybody should see."""

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
CREATE TABLE IF NOT EXISTS answers (
    trial INTEGER PRIMARY KEY REFERENCES trials,
    side TEXT NOT NULL,
    exposure_ms REAL NOT NULL,
    response_ms REAL NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


@dataclass
class Trial:
    """A pair that a person is asked about."""

    id: int
    participant: int
    place: int  # from 0
    kind: Kind
    photograph: int
    model: str
    fake: Side
    left: str  # under which address the pictures are shown: random words that tell nothing
    right: str


@dataclass
class Answer:
    """What a person said of a trial."""

    trial: Trial
    side: Side
    exposure_ms: float
    response_ms: float

    @property
    def fooled(self) -> bool:
        """Whether the photograph was taken for the fake."""
        return self.side != self.trial.fake


class NotAsked(Exception):
    """An answer to a question that was not asked, or asked and answered before."""


@dataclass
class Protocol:
    """How many pairs of each kind a person sees."""

    practice: int
    counted: int
    vigilance: int  # of those counted


def fit_protocol(practice: int, counted: int, vigilance: float, photographs: int) -> Protocol:
    """The protocol for this many photographs: nobody sees one twice, so few make a short study.

    Practice shrinks first, down to a fifth of them, then what counts.
    """
    if photographs < practice + counted:
        practice = min(practice, max(photographs // 5, photographs - counted))
        counted = min(counted, photographs - practice)
    return Protocol(practice, counted, round(counted * vigilance))


def draw_trials(
    protocol: Protocol, photographs: list[int], models: list[str], chance: random.Random
) -> list[tuple[Kind, int, str, Side]]:
    """What one person is asked, in order: practice first, then counted and vigilance pairs mixed.

    No photograph comes twice; the models and the sides of the fakes come equally often, as nearly
    as the number allows.
    """
    chosen = chance.sample(photographs, protocol.practice + protocol.counted)
    practice = ["practice"] * protocol.practice
    counted = ["vigilance"] * protocol.vigilance + ["counted"] * (protocol.counted - protocol.vigilance)
    trials: list[tuple[Kind, int, str, Side]] = []
    for kinds in (practice, counted):
        real = _balanced(models, sum(kind != "vigilance" for kind in kinds), chance)
        fakes = [VIGILANCE] * kinds.count("vigilance") + real
        sides = _balanced(["left", "right"], len(kinds), chance)
        pairs = list(zip(kinds, fakes, sides, strict=True))
        chance.shuffle(pairs)
        trials += [(kind, chosen.pop(), model, side) for kind, model, side in pairs]
    return trials


def _balanced(values: list[str], count: int, chance: random.Random) -> list[str]:
    """Each value equally often, in random order; what is left over is drawn without repeats."""
    whole, rest = divmod(count, len(values))
    drawn = values * whole + chance.sample(values, rest)
    chance.shuffle(drawn)
    return drawn


class Store:
    """The study's database.

    Args:
        path: of the file, made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # an answer that was taken survives a power cut
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
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
        """Begin a person's study: draw what they will be asked, and return the token they are known by."""
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

    def knows(self, token: str | None) -> bool:
        """Whether a token is a participant's."""
        return bool(self._rows("SELECT 1 FROM participants WHERE token = ?", token))

    def open_trial(self, token: str | None) -> Trial | None:
        """The first trial that a participant has not answered."""
        rows = self._rows(
            "SELECT trials.* FROM trials JOIN participants ON participants.id = trials.participant"
            " LEFT JOIN answers ON answers.trial = trials.id"
            " WHERE token = ? AND answers.trial IS NULL ORDER BY place LIMIT 1",
            token,
        )
        return Trial(*rows[0]) if rows else None

    def count_trials(self, token: str | None, kind: Kind | None = None) -> int:
        """How many pairs, or practice pairs, a participant is asked about."""
        rows = self._rows(
            "SELECT COUNT(*) FROM trials JOIN participants ON participants.id = trials.participant"
            " WHERE token = ? AND (? IS NULL OR kind = ?)",
            token, kind, kind,
        )  # fmt: skip
        return rows[0][0]

    def answer(self, token: str | None, trial: int, side: Side, exposure_ms: float, response_ms: float) -> Trial:
        """Take the answer to the participant's open trial.

        Raises:
            NotAsked: this is not the question that is open to them.
        """
        asked = self.open_trial(token)
        if asked is None or asked.id != trial:
            raise NotAsked
        with self._transaction() as database:
            try:
                database.execute(
                    "INSERT INTO answers (trial, side, exposure_ms, response_ms) VALUES (?, ?, ?, ?)",
                    (trial, side, exposure_ms, response_ms),
                )
            except sqlite3.IntegrityError as error:  # the same answer, sent twice at once
                raise NotAsked from error
        return asked

    def answers(self, token: str | None = None) -> list[Answer]:
        """All answers, or those of one participant, in the order of the trials."""
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
