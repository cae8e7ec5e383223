"""A run's numbers in metrics.csv."""

from pathlib import Path

import pytest

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics, read_rows, write_rows


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = {20: {"epoch": 1, "val/loss": 2.0}, 10: {"epoch": 0, "val/loss": 3.0, "optim/lr": 1e-3}}
    write_rows(folder.metrics, rows)
    assert read_rows(folder.metrics) == rows
    assert read_metrics(folder) == {"val/loss": {0: 3.0, 1: 2.0}, "optim/lr": {0: 1e-3}}


def test_a_run_without_numbers_has_none(tmp_path: Path) -> None:
    assert read_metrics(RunFolder(tmp_path)) == {}


@pytest.mark.parametrize("content", ["step,val/loss\n1,2\n", "epoch,step\nx,1\n", "epoch,step\n0\n"])
def test_another_table_is_refused(content: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text(content)
    with pytest.raises(UserError, match=r"metrics\.csv does not hold a table of metrics"):
        read_metrics(folder)
