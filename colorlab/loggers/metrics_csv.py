"""MetricsCSV: a run's numbers in a file of its folder, whatever tracker there is."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from colorlab.errors import UserError
from colorlab.files import atomic_path, optional_file
from colorlab.runs.folder import RunFolder


class MetricsCSV(Logger):
    """One row an epoch in `metrics.csv`, that goes on after a resume.

    Lightning's CSVLogger deletes the file of the run it resumes; this one drops only the rows that
    come after the checkpoint, which will be written again.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = RunFolder(folder).metrics
        self._rows: dict[int, dict[str, float]] | None = None

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds its configuration as a file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self._rows is None:
            self._rows = {row: values for row, values in _read_rows(self.path).items() if row < (step or 0)}
        self._rows.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        if self._rows:
            columns = ["epoch", "step"]
            columns += sorted({name for row in self._rows.values() for name in row} - set(columns))
            # for now: each time all rows are written
            with optional_file(self.path), atomic_path(self.path) as part, part.open("w", newline="") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))

    def finalize(self, status: str) -> None:
        self.save()


def _read_rows(path: Path) -> dict[int, dict[str, float]]:
    if not path.exists():
        return {}
    try:
        with path.open(newline="") as file:
            return {
                int(row.pop("step")): {"epoch": int(row.pop("epoch"))}
                | {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            }
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no table of a run's numbers: {error}.") from error


def read_metrics(folder: RunFolder) -> dict[str, dict[int, float]]:
    """The numbers of a run, {name: {epoch: value}}, from its `metrics.csv`."""
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for row in _read_rows(folder.metrics).values():
        epoch = row.pop("epoch")
        for name, value in row.items():
            metrics[name][epoch] = value
    return dict(metrics)
