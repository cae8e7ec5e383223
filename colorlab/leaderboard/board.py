"""The runs of a leaderboard: the settings that differ, the order, the numbers, and the CSV form."""

import csv
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from colorlab.errors import UserError, did_you_mean, printable
from colorlab.files import atomic_path, spreadsheet_cell
from colorlab.leaderboard.summary import RunSummary
from colorlab.metrics import METRICS, direction, metric_names

NOT_SETTINGS = ("hydra", "sweep", "resume", "reproduce")
"""Overrides that decide how a run is started, and not what it trains."""


@dataclass
class Number:
    """A column of numbers, one per run.

    Args:
        title: the heading.
        value: returns the number of a run.
        text: formats the number.
        direction: whether less or more of it is better; None if neither is.
        hint: a description of the number.
    """

    title: str
    value: Callable[[RunSummary], float | None]
    text: Callable[[float], str]
    direction: Literal["min", "max"] | None
    hint: str


def _time(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60:02d} min"
    return f"{int(minutes)} min {int(seconds) % 60:02d} s" if minutes >= 1 else f"{seconds:.0f} s"


def _count(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


NUMBERS = {
    "epochs": Number("epochs", lambda run: run.epochs, "{:.0f}".format, None, "trained so far / planned"),
    "loss": Number(
        "best loss", lambda run: run.loss, "{:#.5g}".format, direction("loss"),
        "on the validation photographs; the other columns are of the same epoch",
    ),
    "psnr": Number(
        "PSNR", lambda run: run.at_best("val/psnr"), "{:.2f}".format, direction("psnr"), "in dB, in the best epoch"
    ),
    "colorfulness": Number(
        "colorfulness", lambda run: run.at_best("val/colorfulness"), "{:.1f}".format, direction("colorfulness"),
        "in the best epoch",
    ),
    "time": Number("time", lambda run: run.seconds, _time, None, "from the start to the end, or to the last epoch"),
    "speed": Number(
        "images/s", lambda run: run.images_per_second, "{:.0f}".format, "max", "in training: the median of the epochs"
    ),
    "parameters": Number("parameters", lambda run: run.parameters, _count, None, "of the network"),
}  # fmt: skip


@dataclass
class Board:
    """The runs in order, and the keys to show: the model, and those whose values differ between the runs."""

    runs: list[RunSummary]
    keys: list[str]
    root: Path
    sort: str

    def name(self, run: RunSummary) -> str:
        """Return the path of the run's folder, relative to the root."""
        return printable(run.folder.path.resolve().relative_to(self.root))

    def labels(self) -> list[str]:
        """Return a label for each run: the values that differ, and the run's name where they do not suffice."""
        differing = [key for key in self.keys if len({run.setting(key) for run in self.runs}) > 1]
        short = {key: key.rpartition(".")[2] if "." in key else "" for key in differing}
        labels = [
            " · ".join(f"{word} {value}".strip() for key, word in short.items() if (value := run.setting(key)))
            for run in self.runs
        ]
        seen = Counter(labels)
        return [
            label if label and seen[label] == 1 else f"{label} ({self.name(run)})" if label else self.name(run)
            for label, run in zip(labels, self.runs, strict=True)
        ]

    def notes(self) -> list[str]:
        """Return sentences that a reader needs to compare the numbers."""
        notes = []
        if len({str(run.config.get("objective")) for run in self.runs if run.config}) > 1:
            notes.append("These runs have different objectives: compare them by PSNR and colorfulness, not by loss.")
        if len({str(_photographs(run.config)) for run in self.runs if run.config}) > 1:
            notes.append("These runs were not evaluated on the same photographs at the same size.")
        for name, words in (
            ("val/psnr_gray", "Gray pictures have a PSNR of {:.2f} dB."),
            ("val/colorfulness_true", "The true photographs have a colorfulness of {:.1f}."),
        ):
            values = {round(value, 2) for run in self.runs if (value := run.last(name)) is not None}
            if len(values) == 1:
                notes.append(words.format(*values))
        return notes


def _photographs(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides which photographs a run is evaluated on."""
    deciding = ("root", "roots", "size", "val_fraction", "test_fraction", "split_seed")
    return {key: value for key, value in (config.get("data") or {}).items() if key in deciding}


def make_board(runs: list[RunSummary], sort: str = "loss") -> Board:
    """Return the table of runs.

    Args:
        runs: at least one.
        sort: a column, whose best or largest number comes first, or an override, whose smallest value comes first.

    Raises:
        UserError: there is no such column or override.
    """
    _add_columns(runs)
    typed = dict.fromkeys(key for run in runs for key in run.overrides)
    given = [key for key in typed if not key.startswith(NOT_SETTINGS)]
    differing = [
        key for key in given if len({run.setting(key) for run in runs if run.config or key in run.overrides}) > 1
    ]
    keys = ["model", *(key for key in differing if key != "model")]
    if sort not in NUMBERS and sort not in (*keys, *given):
        raise UserError(f"--sort {sort}: {did_you_mean(sort, [*NUMBERS, *keys])}")
    root = Path(*_shared([run.folder.path.resolve().parent.parts for run in runs]))
    return Board(sorted(runs, key=lambda run: _rank(run, sort)), keys, root, sort)


def _add_columns(runs: list[RunSummary]) -> None:
    """Add a column for each metric that a run measured with a class of a plugin."""
    lists = [metrics for run in runs if isinstance(metrics := run.config.get("metrics"), list)]
    for entry in chain.from_iterable(lists):
        with suppress(UserError):  # the plugin is not known here, or the configuration is damaged
            (name,) = metric_names([entry])
            if isinstance(entry, str) and entry in METRICS:  # one of colorlab's own
                continue
            info = METRICS[name]
            value = partial(RunSummary.at_best, metric=f"val/{name}")
            text = f"{{:.{info.digits}f}}".format
            NUMBERS[name] = Number(info.title, value, text, info.direction, "in the best epoch")


def _shared(paths: list[tuple[str, ...]]) -> list[str]:
    """Return the leading parts that all paths share."""
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared


def _rank(run: RunSummary, sort: str) -> tuple[bool, float, str]:
    """Return a run's sort key; runs without the value come last."""
    if sort in NUMBERS:
        value = NUMBERS[sort].value(run)
        return value is None, (value or 0.0) * (1 if NUMBERS[sort].direction == "min" else -1), ""
    text = run.setting(sort)
    try:
        return False, float(text), text
    except ValueError:
        return not text, 0.0, text


def cell(run: RunSummary, key: str) -> str:
    """Return the text of a cell."""
    value = NUMBERS[key].value(run)
    if value is None:
        return ""
    text = NUMBERS[key].text(value)
    return f"{text} / {run.max_epochs}" if key == "epochs" and run.max_epochs else text


def write_csv(board: Board, path: Path) -> None:
    """Write one line per run, with unrounded numbers, no formulas, and the test metrics of the runs that have them."""
    tests = sorted({name for run in board.runs for name in run.metrics if name.startswith("test/")})
    columns = [
        "run", *board.keys, "status", "reason", *NUMBERS, "max_epochs", "best_epoch", "monitor", *tests,
    ]  # fmt: skip
    with atomic_path(path, shared=True) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(map(spreadsheet_cell, columns))
        for run in board.runs:
            numbers = [number.value(run) for number in NUMBERS.values()]
            more = [run.max_epochs, run.best_epoch, run.monitor[0], *(run.last(name) for name in tests)]
            settings = [run.setting(key) for key in board.keys]
            row = [board.name(run), *settings, run.status, run.reason, *numbers, *more]
            table.writerow(map(spreadsheet_cell, row))
