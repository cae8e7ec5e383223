"""The fooling rate against a count, and which answers are left out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.report import count_answers, fooling_rates, rate_pictures, write
from colorlab.study.trials import VIGILANCE, Answer, Trial

MODELS = ("good", "poor")


def answer(
    participant: int, photograph: int, model: str, fooled: bool, kind: str = "counted", exposure_ms: float = 1000
) -> Answer:
    fake = "left" if photograph % 2 else "right"
    other = "right" if photograph % 2 else "left"
    trial = Trial(0, participant, 0, kind, photograph, model, fake, "", "")
    return Answer(trial, other if fooled else fake, exposure_ms, 400)


@pytest.fixture
def answers() -> list[Answer]:
    """Twelve people, ten photographs, two models: one fools 40 %, the other 10 %."""
    chance = np.random.default_rng(0)
    return [
        answer(person, photograph, model, bool(chance.random() < rate))
        for person in range(12)
        for photograph in range(10)
        for model, rate in zip(MODELS, (0.4, 0.1), strict=True)
    ]


def test_the_rate_is_the_share_of_fooled_answers(answers: list[Answer]) -> None:
    rates = fooling_rates(answers)
    for model in MODELS:
        fooled = [each.side != each.trial.fake for each in answers if each.trial.model == model]
        assert rates[model].value == pytest.approx(100 * np.mean(fooled))
        assert rates[model].low < rates[model].value < rates[model].high
    assert fooling_rates(answers) == rates


def test_for_equal_participants_the_interval_is_that_of_independent_answers(answers: list[Answer]) -> None:
    rate = fooling_rates(answers)["good"]
    share = rate.value / 100
    half = 1.96 * np.sqrt(share * (1 - share) / 120) * 100
    assert half * 0.8 < (rate.high - rate.low) / 2 < half * 2


def test_for_different_participants_the_interval_is_wider() -> None:
    """Half are always fooled and half never, so twelve people give little more information than twelve answers."""
    answers = [answer(person, photograph, "good", person % 2 == 0) for person in range(12) for photograph in range(50)]
    rate = fooling_rates(answers)["good"]
    assert rate.value == 50
    assert rate.high - rate.low > 40


def test_participants_who_miss_random_colors_are_left_out(answers: list[Answer]) -> None:
    seen = [answer(0, 90 + n, VIGILANCE, fooled=n == 0, kind="vigilance") for n in range(4)]  # 3 of 4
    unseen = [answer(1, 90 + n, VIGILANCE, fooled=n < 2, kind="vigilance") for n in range(4)]  # 2 of 4
    counted = count_answers(answers + seen + unseen, exposure=1.0, finished=range(12))
    assert (counted.participants, counted.inattentive) == (11, 1)
    assert {each.trial.participant for each in counted.answers} == set(range(12)) - {1}
    assert {each.trial.model for each in counted.answers} == set(MODELS)


def test_who_leaves_early_is_left_out(answers: list[Answer]) -> None:
    counted = count_answers(answers, exposure=1.0, finished={2, 3, 5})
    assert (counted.participants, counted.unfinished) == (3, 9)
    assert {each.trial.participant for each in counted.answers} == {2, 3, 5}


def test_practice_and_mistimed_pairs_do_not_count() -> None:
    answers = [
        answer(0, 1, "good", True), answer(0, 2, "good", True, kind="practice"),
        answer(0, 3, "good", True, exposure_ms=1250), answer(0, 4, "good", True, exposure_ms=1017),
        answer(0, 5, "good", True, exposure_ms=700),
    ]  # fmt: skip
    counted = count_answers(answers, exposure=1.0, finished=[0])
    assert [each.trial.photograph for each in counted.answers] == [1, 4]
    assert counted.mistimed == 2


def test_pictures_are_ranked_by_their_smoothed_rate(answers: list[Answer]) -> None:
    few = [answer(0, 77, "good", True)]
    many = [answer(person, 88, "good", person > 0) for person in range(12)]
    ranked = rate_pictures(few + many + [answer(0, 99, "poor", False)])
    assert [(each.photograph, each.fooled, each.shown) for each in ranked] == [(88, 11, 12), (77, 1, 1), (99, 0, 1)]


def test_the_report_tables_and_sheets_are_written(answers: list[Answer], tmp_path: Path) -> None:
    for photograph in range(10):
        for version in (TRUE, *MODELS):
            path = picture_path(tmp_path / "pictures", version, photograph)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), "teal" if version == TRUE else "tan").save(path)
    study = {"exposure": 1.0, "protocol": "native", "photographs": {str(n): f"sea/{n}.jpg" for n in range(10)}}
    report, sheets = write(answers, range(12), study, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["models"]["good"]["answers"] == 120
    assert report["protocol"] == "native"
    with (tmp_path / "pictures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert sum(int(row["fooled"]) for row in rows if row["model"] == "good") == sum(
        each.fooled for each in answers if each.trial.model == "good"
    )
    assert [sheet.name for sheet in sheets] == ["most_convincing.png", "least_convincing.png"]
    assert Image.open(sheets[0]).tobytes() != Image.open(sheets[1]).tobytes()
