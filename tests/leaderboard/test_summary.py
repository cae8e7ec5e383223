"""Summaries of runs for the leaderboard."""

import math
from pathlib import Path

import pytest

from colorlab.leaderboard.summary import NoRuns, find_runs, read_run
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder


def test_runs_are_in_natural_order(tmp_path: Path) -> None:
    for name in ("10_cunet", "9_cunet", "9_cunet/inside"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "status.json").write_text("{}")
    assert [run.folder.path.name for run in find_runs([tmp_path])[0]] == ["9_cunet", "10_cunet"]


def test_runs_that_were_refused_before_they_trained_are_left_out(tmp_path: Path) -> None:
    """They wrote a status in earlier versions, and do so in a sweep."""
    for name, error in (("mistake", "UserError"), ("late_mistake", "UserError"), ("defect", "RuntimeError")):
        folder = RunFolder(tmp_path / name)
        folder.write_status({"status": "failed", "error": error})
        if name == "late_mistake":
            folder.metrics.write_text("epoch,step,val/loss\n0,0,1.0\n")
    runs, left_out = find_runs([tmp_path])
    assert ([run.folder.path.name for run in runs], left_out) == (["defect", "late_mistake"], 1)
    with pytest.raises(NoRuns, match=r"There is no run in .*mistake but 1 that were refused before they trained\."):
        find_runs([tmp_path / "mistake"])


def test_the_best_epoch_is_never_one_of_nan(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("epoch,step,val/loss\n0,0,nan\n1,1,2.0\n2,2,3.0\n")
    run = read_run(folder)
    assert (run.best_epoch, run.loss, run.last("val/loss")) == (1, 2.0, 3.0)
    folder.metrics.write_text("epoch,step,val/loss\n0,0,nan\n")
    run = read_run(folder)
    assert (run.best_epoch, run.loss) == (None, None)
    assert math.isnan(run.last("val/loss"))


@pytest.mark.parametrize("switches", [{}, {"compile": True, "weights": "some.ckpt"}])
def test_parameters_are_counted_whatever_the_switches_of_training(switches: dict, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_configuration({"model": {"_target_": "colorlab.models.CUNet", "width": 2, **switches}}, [])
    assert read_run(folder).parameters == sum(weights.numel() for weights in CUNet(width=2).parameters())
