"""The CSV file of a run's numbers, over resumes."""

import csv
from pathlib import Path

from colorlab.loggers import MetricsCSV
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics


def write(folder: Path, *rows: tuple[int, dict[str, float]]) -> RunFolder:
    """Log rows as a training does, from its start or from a checkpoint."""
    folder.mkdir(exist_ok=True)
    logger = MetricsCSV(str(folder))
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
    logger.finalize("success")
    return RunFolder(folder)


FIRST = (
    (9, {"epoch": 0, "val/loss": 9.0}), (9, {"epoch": 0, "train/loss": 0.25}), (19, {"epoch": 1, "val/loss": 19.0}),
    (29, {"epoch": 2, "val/loss": 29.0}), (29, {"train/loss": 0.5}),
)  # fmt: skip


def test_the_csv_file_has_one_row_per_epoch(tmp_path: Path) -> None:
    folder = write(tmp_path, *FIRST)
    rows = list(csv.DictReader(folder.metrics.open()))
    assert rows == [
        {"epoch": "0", "step": "9", "train/loss": "0.25", "val/loss": "9.0"},
        {"epoch": "1", "step": "19", "train/loss": "", "val/loss": "19.0"},
        {"epoch": "2", "step": "29", "train/loss": "0.5", "val/loss": "29.0"},
    ]
    assert read_metrics(folder) == {"train/loss": {0: 0.25, 2: 0.5}, "val/loss": {0: 9.0, 1: 19.0, 2: 29.0}}


def test_a_resume_replaces_the_rows_after_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, *FIRST)
    folder = write(tmp_path, (19, {"epoch": 1, "val/loss": 1.0}), (29, {"epoch": 2, "val/psnr": 2.0}))
    assert read_metrics(folder) == {"train/loss": {0: 0.25}, "val/loss": {0: 9.0, 1: 1.0}, "val/psnr": {2: 2.0}}


def test_epochs_stay_whole_numbers_after_a_resume(tmp_path: Path) -> None:
    write(tmp_path, *FIRST)
    folder = write(tmp_path, (39, {"epoch": 3, "val/loss": 1.0}))
    assert [row["epoch"] for row in csv.DictReader(folder.metrics.open())] == ["0", "1", "2", "3"]


def test_a_resume_that_logs_nothing_leaves_the_csv_file_unchanged(tmp_path: Path) -> None:
    before = write(tmp_path, *FIRST).metrics.read_bytes()
    assert write(tmp_path).metrics.read_bytes() == before
