"""The numbers of a run in its `metrics.csv`, one row per epoch. Imports nothing heavy."""

import csv
from collections import defaultdict
from pathlib import Path

from colorlab.errors import UserError
from colorlab.files import LARGEST, atomic_path
from colorlab.runs.folder import RunFolder


def read_metrics(folder: RunFolder) -> dict[str, dict[int, float]]:
    """Return the numbers of a run, {name: {epoch: value}}; empty if it logged none.

    Raises:
        UserError: the file does not hold such a table.
    """
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_rows(folder.metrics).values():
        epoch = int(row.pop("epoch"))
        for name, value in row.items():
            metrics[name][epoch] = value
    return dict(metrics)


def read_rows(file: Path) -> dict[int, dict[str, float]]:
    """Return the rows of a table, {step: {name: value}}; empty if the file is missing.

    Raises:
        UserError: the file does not hold such a table.
    """
    if not file.exists():
        return {}
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST // 2**20} MiB")
        with file.open(newline="") as content:
            lines = content.readlines()
            complete = lines if lines[-1:] and lines[-1].endswith("\n") else lines[:-1]  # a torn end is dropped
            return {
                int(row.pop("step")): {"epoch": int(row.pop("epoch"))}
                | {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(complete)
            }
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{file} does not hold a table of metrics: {error}.") from error


def write_rows(file: Path, rows: dict[int, dict[str, float]]) -> None:
    """Write rows, {step: {name: value}}, atomically."""
    columns = ["epoch", "step"]
    columns += sorted({name for row in rows.values() for name in row} - set(columns))
    with atomic_path(file) as part, part.open("w", newline="") as content:
        table = csv.DictWriter(content, columns)
        table.writeheader()
        table.writerows({"step": step, **row} for step, row in sorted(rows.items()))
