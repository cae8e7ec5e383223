"""The table of runs."""

from pathlib import Path

import pytest

from colorlab.leaderboard.board import NUMBERS, make_board
from colorlab.leaderboard.summary import read_run
from colorlab.runs.folder import RunFolder


@pytest.mark.parametrize("metrics", [3, "psnr", [3], [{"a": 1}], ["psnr", "nolab.metrics.Flat"], ["os.system"]])
def test_metrics_that_are_not_known_here_bring_no_column_and_no_error(metrics: object, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_configuration({"metrics": metrics}, [])
    before = list(NUMBERS)
    assert make_board([read_run(folder)]).runs[0].folder.path == tmp_path
    assert list(NUMBERS) == before
