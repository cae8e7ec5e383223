"""Loggers of a run's numbers: a CSV file in the run's folder, and the chosen trackers."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from colorlab.errors import UserError
from colorlab.files import read_json
from colorlab.loggers.metrics_csv import MetricsCSV
from colorlab.loggers.mlflow import MLflowInFolder, mlflow_logger
from colorlab.loggers.tensorboard import TensorBoardInFolder
from colorlab.loggers.wandb import WandbByEpoch, finish_tracker, wandb_logger
from colorlab.runs.folder import RunFolder

__all__ = [
    "MLflowInFolder", "MetricsCSV", "TensorBoardInFolder", "WandbByEpoch", "finish_tracker", "log_best",
    "log_picture", "log_table", "mlflow_logger", "remember_trackers", "wandb_logger",
]  # fmt: skip


@rank_zero_only
def remember_trackers(loggers: list[Logger], folder: RunFolder) -> None:
    """Write the addresses at which trackers show the run to its folder, for the leaderboard."""
    addresses: dict[str, Any] = {}
    with suppress(UserError):  # a damaged file: the addresses of trackers of earlier starts are lost
        addresses = read_json(folder.trackers) or {}
    for logger in loggers:
        if getattr(logger, "lost", False):
            continue
        if isinstance(logger, WandbLogger) and (address := getattr(logger.experiment, "url", None)):
            addresses["wandb"] = address
        elif isinstance(logger, MLflowInFolder) and logger.uri.startswith("http"):
            place = f"experiments/{logger.experiment_id}/runs/{logger.run_id}"
            addresses["mlflow"] = f"{logger.uri.rstrip('/')}/#/{place}"
    if addresses:
        folder.write_trackers(addresses)


def log_picture(loggers: list[Logger], name: str, path: Path, step: int, epoch: int | None = None) -> None:
    """Log a picture file to every tracker that shows pictures."""
    for logger in loggers:
        if hasattr(logger, "log_picture"):
            logger.log_picture(name, path, step, epoch)


def log_best(loggers: list[Logger], checkpoint: str, monitor: str | None, score: float | None) -> None:
    """Log the best checkpoint, and its score in the monitored value, to every tracker that shows them."""
    for logger in loggers:
        if hasattr(logger, "log_best"):
            logger.log_best(checkpoint, monitor, score)


def log_table(loggers: list[Logger], name: str, rows: list[dict[str, Any]]) -> None:
    """Log a table, given as one dictionary per row, to every tracker that shows tables."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, columns=list(rows[0]), data=[list(row.values()) for row in rows], step=0)
