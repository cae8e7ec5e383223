"""The value that a sweep compares its runs by."""

import math
from pathlib import Path

import pytest

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import write_rows
from colorlab.sweeps.score import best_of, best_value, direction_of


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("val/loss", "min"),
        ("train/loss", "min"),
        ("test/psnr", "max"),
        ("val/ciede2000", "min"),
        ("val/loss/l1", "min"),
        ("train/loss/critic/real", "min"),
    ],
)
def test_direction_of_a_compared_value(metric: str, direction: str) -> None:
    assert direction_of(metric) == direction


@pytest.mark.parametrize("metric", ["val/colorfulness", "val/los", "loss", "speed/loss", "train/psnr", "val/loss/"])
def test_a_value_that_cannot_be_compared_is_refused(metric: str) -> None:
    with pytest.raises(UserError, match=f"sweep.metric={metric} cannot be used to compare runs"):
        direction_of(metric)


def test_the_best_value_leaves_out_nan() -> None:
    assert best_of([math.nan, 3.0, 1.0], "min") == 1.0
    assert best_of([2.0, math.nan, 3.0], "max") == 3.0
    assert math.isnan(best_of([math.nan], "max"))


def test_the_best_value_of_a_term_of_the_loss_is_the_least(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_rows(run.metrics, {9: {"epoch": 0, "val/loss/l1": 2.0}, 19: {"epoch": 1, "val/loss/l1": 3.0}})
    assert best_value(run, "val/loss/l1") == 2.0
    with pytest.raises(UserError, match="val/loss/l2 was not logged by the run; did you mean val/loss/l1"):
        best_value(run, "val/loss/l2")
