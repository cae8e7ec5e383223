"""Names and directions of the metrics."""

import pytest
from torch import Tensor

from colorlab import metrics
from colorlab.errors import UserError
from colorlab.metrics import (
    MEASURES,
    METRICS,
    Colored,
    PictureMetric,
    check_names,
    direction,
    goodness,
    metric_names,
)


def test_an_unknown_metric_is_answered_with_the_closest_name() -> None:
    with pytest.raises(UserError, match="metrics=pnsr is not a metric: did you mean psnr"):
        check_names(["ssim", "pnsr"])


class Flat(PictureMetric):
    """A metric of a plugin."""

    name, title, direction = "flat", "flatness", "min"

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)

    def __call__(self, colored: Colored) -> Tensor:
        return colored.predicted.mean(dim=(1, 2, 3))


FLAT = "colorlab.metrics.Flat"


@pytest.fixture(autouse=True)
def _registries_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the tests register."""
    monkeypatch.setattr(metrics, "Flat", Flat, raising=False)
    monkeypatch.setattr(Flat, "__module__", "colorlab.metrics")
    for known in (METRICS, MEASURES):
        for name in ("flat", "other"):
            monkeypatch.setitem(known, name, None)
            del known[name]


def test_a_class_is_known_by_its_name_once_it_is_chosen() -> None:
    assert metric_names(["psnr", FLAT]) == ["psnr", "flat"]
    assert METRICS["flat"] == ("flatness", "min", 2)
    assert metric_names([{"_target_": FLAT, "digits": 3}, {"_target_": FLAT, "name": "other"}]) == ["flat", "other"]
    assert METRICS["flat"].digits == 3


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{"digits": 3}], r"metrics has .*: an entry is a name, or \{_target_: CLASS\}"),
        ([3], "metrics=3 is not a metric"),
        (["colorlab.models.CUNet"], "does not make what belongs here: of type PictureMetric"),
        ([FLAT, FLAT], "two metrics with the name flat"),
        ([{"_target_": FLAT, "name": None}], "has no name: a PictureMetric has the attributes name and title"),
        ([{"_target_": FLAT, "name": "loss"}], "has the name 'loss': use letters, digits and _, and not loss"),
        ([{"_target_": FLAT, "name": "a/b"}], "has the name 'a/b'"),
        ([{"_target_": FLAT, "name": "psnr"}], "has the name psnr, which is another metric's"),
        ([{"_target_": FLAT, "direction": "up"}], "has the direction 'up': it must be min, max or None"),
    ],
)
def test_a_metric_with_a_mistake_is_refused(entries: list, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        metric_names(entries)


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
