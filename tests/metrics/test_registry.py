"""Names and directions of the metrics."""

import pytest

from colorlab.errors import UserError
from colorlab.metrics import METRICS, check_names, direction, goodness


def test_an_unknown_metric_is_answered_with_the_closest_name() -> None:
    with pytest.raises(UserError, match="metrics=pnsr is not a metric: did you mean psnr"):
        check_names(["ssim", "pnsr"])


@pytest.mark.parametrize(
    ("metric", "better", "worse"), [("psnr", 30, 20), ("ciede2000", 3, 9), ("colorfulness", 38, 30)]
)
def test_goodness_is_higher_for_better_values(metric: str, better: float, worse: float) -> None:
    assert goodness(metric, better, true=40) > goodness(metric, worse, true=40)
    assert metric in METRICS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("psnr", "max"), ("val/psnr", "max"), ("val/ciede2000", "min"), ("loss", "min"), ("val/loss", "min"),
        ("val/colorfulness", None), ("speed/images_per_second", None),
    ],
)  # fmt: skip
def test_direction_of_a_logged_value(name: str, expected: str | None) -> None:
    assert direction(name) == expected
