"""Where a run's numbers go: always a CSV file, and the tracker of choice."""

import csv
import os
import secrets
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from colorlab.run_folder import RunFolder


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
            whole = self.path.with_suffix(".part")
            with whole.open("w", newline="") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))
            whole.replace(self.path)

    def finalize(self, status: str) -> None:
        self.save()


def _read_rows(path: Path) -> dict[int, dict[str, float]]:
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            int(row.pop("step")): {"epoch": int(row.pop("epoch"))}
            | {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        }


def read_metrics(folder: RunFolder) -> dict[str, dict[int, float]]:
    """The numbers of a run, {name: {epoch: value}}, from its `metrics.csv`."""
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for row in _read_rows(folder.metrics).values():
        epoch = row.pop("epoch")
        for name, value in row.items():
            metrics[name][epoch] = value
    return dict(metrics)


def wandb_logger(
    folder: str,
    project: str = "colorlab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
) -> WandbLogger:
    """A wandb logger that never asks: online for whoever is logged in, else offline.

    The run's id is kept in its folder, so that a resumed run goes on in the same wandb run.

    Args:
        folder: the run's folder; wandb's files go there too.
        project, name, group, tags, notes: how wandb files the run.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
    id_file = RunFolder(folder).wandb_id
    if not id_file.exists():
        id_file.parent.mkdir(parents=True, exist_ok=True)
        id_file.write_text(secrets.token_hex(4))
    return WandbLogger(
        save_dir=folder, project=project, name=name, group=group, tags=tags or [], notes=notes,
        id=id_file.read_text(), resume="allow", mode=mode,
    )  # fmt: skip


def log_picture(loggers: list[Logger], name: str, path: Path, step: int | None = None) -> None:
    """Send a picture file to every tracker that shows pictures."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=step)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")


def log_table(loggers: list[Logger], name: str, rows: list[dict[str, Any]]) -> None:
    """Send a table, a dict a row, to every tracker that shows tables."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, columns=list(rows[0]), data=[list(row.values()) for row in rows], step=0)


def finish_tracker(failed: bool) -> None:
    """End the wandb run, if there is one: the next job of a sweep must begin its own."""
    if wandb.run is not None:
        wandb.finish(exit_code=int(failed))
