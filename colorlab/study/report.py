"""How often people took a fake for the photograph."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.markup import escape
from rich.table import Table

from colorlab.errors import printable
from colorlab.evaluate.estimates import LEVEL, RESAMPLES, Estimate
from colorlab.files import spreadsheet_cell
from colorlab.images.contact_sheet import Row, draw_sheet
from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.trials import EXPOSURE_TOLERANCE, Answer

ATTENTIVE = 0.75
"""Participants who recognize a smaller share of the fakes in random colors are left out (our choice)."""

EXTREMES = 10
"""How many pictures the sheets of the most and the least convincing ones show."""


@dataclass
class Counted:
    """The answers that count.

    Args:
        answers: the answers to counted pairs.
        participants: how many people gave them.
        unfinished: how many participants were left out because they left early.
        inattentive: how many participants were left out because they missed fakes in random colors.
        mistimed: how many answers were left out.
    """

    answers: list[Answer]
    participants: int
    unfinished: int
    inattentive: int
    mistimed: int


def count_answers(answers: list[Answer], exposure: float, finished: Collection[int]) -> Counted:
    """Leave out participants who left early or were inattentive, and pairs seen too long or too briefly.

    Args:
        answers: all answers.
        exposure: how long a pair is shown, in seconds.
        finished: the participants who have answered all their trials.
    """
    by_person: dict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_person[answer.trial.participant].append(answer)
    kept: list[Answer] = []
    people = unfinished = inattentive = mistimed = 0
    for person, own in by_person.items():
        if person not in finished:
            unfinished += 1
            continue
        vigilance = [not answer.fooled for answer in own if answer.trial.kind == "vigilance"]
        if vigilance and sum(vigilance) < ATTENTIVE * len(vigilance):
            inattentive += 1
            continue
        counted = [answer for answer in own if answer.trial.kind == "counted"]
        timed = [each for each in counted if abs(each.exposure_ms / 1000 / exposure - 1) <= EXPOSURE_TOLERANCE]
        mistimed += len(counted) - len(timed)
        people += bool(timed)
        kept += timed
    return Counted(kept, people, unfinished, inattentive, mistimed)


def fooling_rates(answers: list[Answer]) -> dict[str, Estimate]:
    """Estimate how often each model's pictures were taken for the photograph, in percent; guessing gives 50 %.

    The 95 % bootstrap interval resamples participants with replacement, 2000 times, and the answers of each: the
    answers of one person are less independent than those of two.
    """
    people: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        people[answer.trial.model][answer.trial.participant].append(answer.fooled)
    rates = {}
    for model, by_person in sorted(people.items()):
        rng = np.random.default_rng(0)
        fooled = [sum(own) for own in by_person.values()]
        asked = [len(own) for own in by_person.values()]
        resamples = np.empty(RESAMPLES)
        for resample in range(RESAMPLES):
            chosen = rng.integers(len(asked), size=len(asked))
            hits = sum(rng.binomial(asked[who], fooled[who] / asked[who]) for who in chosen)
            resamples[resample] = hits / sum(asked[who] for who in chosen)
        low, high = np.percentile(resamples * 100, [50 - LEVEL * 50, 50 + LEVEL * 50])
        rates[model] = Estimate(100 * sum(fooled) / sum(asked), float(low), float(high))
    return rates


@dataclass
class Picture:
    """The answers to one model's picture of one photograph, counted."""

    photograph: int
    model: str
    shown: int
    fooled: int

    @property
    def convincing(self) -> float:
        """The rate of fooled answers, smoothed toward one half for few answers (Laplace)."""
        return (self.fooled + 1) / (self.shown + 2)


def rate_pictures(answers: list[Answer]) -> list[Picture]:
    """Count the answers to each picture; the most convincing comes first."""
    said: dict[tuple[int, str], list[bool]] = defaultdict(list)
    for answer in answers:
        said[answer.trial.photograph, answer.trial.model].append(answer.fooled)
    pictures = [Picture(*key, len(fooled), sum(fooled)) for key, fooled in said.items()]
    return sorted(pictures, key=lambda picture: (-picture.convincing, picture.photograph, picture.model))


def write(
    answers: list[Answer], finished: Collection[int], study: dict[str, Any], folder: Path
) -> tuple[dict[str, Any], list[Path]]:
    """Write report.json, report.csv, pictures.csv and the two contact sheets.

    Args:
        answers: all answers.
        finished: the participants who have answered all their trials.
        study: the content of study.json.
        folder: the study's folder.

    Returns:
        The content of report.json, and the sheets.
    """
    counted = count_answers(answers, study["exposure"], finished)
    pictures = rate_pictures(counted.answers)
    rates = fooling_rates(counted.answers)
    asked = Counter(answer.trial.model for answer in counted.answers)
    report = {
        "models": {name: vars(rate) | {"answers": asked[name]} for name, rate in rates.items()},
        "participants": counted.participants, "unfinished": counted.unfinished,
        "inattentive": counted.inattentive, "mistimed": counted.mistimed,
        **study,
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    facts = {key: value for key, value in report.items() if not isinstance(value, dict | list)}
    _write_csv(folder / "report.csv", [{"model": name, **found, **facts} for name, found in report["models"].items()])
    names = study["photographs"]
    rows = [
        {
            "picture": names[str(each.photograph)], "model": each.model, "shown": each.shown, "fooled": each.fooled,
            "rate": 100 * each.fooled / each.shown,
        }
        for each in pictures
    ]  # fmt: skip
    _write_csv(folder / "pictures.csv", rows)
    sheets = []
    for name, chosen in (("most_convincing", pictures[:EXTREMES]), ("least_convincing", pictures[::-1][:EXTREMES])):
        if chosen:
            sheets.append(folder / f"{name}.png")
            draw_sheet([_row(each, names, folder / "pictures") for each in chosen]).save(sheets[-1])
    return report, sheets


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        if rows:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)


def _row(picture: Picture, names: dict[str, str], folder: Path) -> tuple[str, Row]:
    both = {}
    for heading, version in (("photograph", TRUE), ("fake", picture.model)):
        with Image.open(picture_path(folder, version, picture.photograph)) as file:
            both[heading] = file.convert("RGB")
    return Path(names[str(picture.photograph)]).stem, Row(both, {"fake": f"fooled {picture.fooled} of {picture.shown}"})


def table_of(report: dict[str, Any]) -> Table:
    """Return the fooling rates as a table for the screen."""
    table = Table("model", box=None, header_style="bold")
    for heading in ("fooled (%)", f"{LEVEL:.0%} interval", "answers"):
        table.add_column(heading, justify="right")
    for name, rate in report["models"].items():
        table.add_row(
            escape(printable(name)),
            f"{rate['value']:.1f}",
            f"{rate['low']:.1f}–{rate['high']:.1f}",
            str(rate["answers"]),
        )
    return table
