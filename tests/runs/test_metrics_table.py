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


def test_a_torn_last_row_is_dropped_and_other_damage_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = {step: {"epoch": step, "val/loss": step + 0.125} for step in range(3)}
    write_rows(folder.metrics, rows)
    whole = folder.metrics.read_bytes()
    folder.metrics.write_bytes(whole[:-4])  # 2.125 has become 2.1
    assert read_rows(folder.metrics) == {0: rows[0], 1: rows[1]}
    for damaged in (whole[:30] + bytes(20) + whole[50:], b"\xff" + whole, whole + b"a" * 200_000 + b"\n"):
        folder.metrics.write_bytes(damaged)
        with pytest.raises(UserError, match=r"metrics\.csv does not hold a table of metrics"):
            read_rows(folder.metrics)
