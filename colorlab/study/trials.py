"""The pairs that a person is asked about, and how they are drawn."""

import random
from dataclasses import dataclass
from typing import Literal, TypeVar

Side = Literal["left", "right"]
Kind = Literal["practice", "counted", "vigilance"]
Value = TypeVar("Value")

SIDES: tuple[Side, Side] = ("left", "right")

VIGILANCE = "random colors"
"""The "model" of the vigilance pairs, whose fakes are obvious."""


EXPOSURE_TOLERANCE = 0.2
"""An answer counts if its pair was seen for the intended time, with this relative tolerance (our choice)."""


@dataclass
class Trial:
    """A pair that a person is asked about.

    Args:
        id: of the row in the database.
        participant: who is asked.
        place: the trial's place in the participant's order, from 0.
        kind: practice trials show the answer; vigilance trials have an obvious fake.
        photograph: which photograph.
        model: whose picture is the fake.
        fake: the side of the fake.
        left, right: random words in the addresses of the pictures, which do not tell which one is the fake.
    """

    id: int
    participant: int
    place: int
    kind: Kind
    photograph: int
    model: str
    fake: Side
    left: str
    right: str


@dataclass
class Answer:
    """A person's answer to a trial.

    Args:
        trial: the pair.
        side: which picture was taken for the fake.
        exposure_ms: how long the pair was seen, in milliseconds.
        response_ms: how long the answer took, in milliseconds.
    """

    trial: Trial
    side: Side
    exposure_ms: float
    response_ms: float

    @property
    def fooled(self) -> bool:
        """Whether the photograph was taken for the fake."""
        return self.side != self.trial.fake


@dataclass
class Protocol:
    """How many pairs of each kind a person sees.

    Args:
        practice: pairs whose answer is shown.
        counted: pairs after the practice, vigilance pairs among them.
        vigilance: how many of the counted pairs.
    """

    practice: int
    counted: int
    vigilance: int


def fit_protocol(practice: int, counted: int, vigilance: float, photographs: int) -> Protocol:
    """Reduce the number of pairs to the number of photographs, none of which a person sees twice.

    Practice is reduced first, to a fifth of the photographs at least, then the counted pairs.
    """
    if photographs < practice + counted:
        practice = min(practice, max(photographs // 5, photographs - counted))
        counted = min(counted, photographs - practice)
    return Protocol(practice, counted, round(counted * vigilance))


def draw_trials(
    protocol: Protocol, photographs: list[int], models: list[str], rng: random.Random
) -> list[tuple[Kind, int, str, Side]]:
    """Draw one person's trials in order: practice first, then counted and vigilance pairs mixed.

    No photograph occurs twice; each model, and each side of the fake, occurs equally often, as nearly as the number
    of pairs allows.

    Returns:
        The kind, photograph, model and side of the fake of each trial.
    """
    chosen = rng.sample(photographs, protocol.practice + protocol.counted)
    practice: list[Kind] = ["practice"] * protocol.practice
    counted: list[Kind] = ["vigilance"] * protocol.vigilance
    counted += ["counted"] * (protocol.counted - protocol.vigilance)
    trials: list[tuple[Kind, int, str, Side]] = []
    for kinds in (practice, counted):
        fakes = [VIGILANCE] * kinds.count("vigilance")
        fakes += _balanced(models, len(kinds) - len(fakes), rng)
        pairs = list(zip(kinds, fakes, _balanced(list(SIDES), len(kinds), rng), strict=True))
        rng.shuffle(pairs)
        trials += [(kind, chosen.pop(), model, side) for kind, model, side in pairs]
    return trials


def _balanced(values: list[Value], count: int, rng: random.Random) -> list[Value]:
    """Draw `count` values in random order, each equally often; the remainder is drawn without repeats."""
    times, rest = divmod(count, len(values))
    drawn = values * times + rng.sample(values, rest)
    rng.shuffle(drawn)
    return drawn
