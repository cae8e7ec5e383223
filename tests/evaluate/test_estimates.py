"""Means and their bootstrap intervals, against SciPy's."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from colorlab.evaluate.estimates import Estimate, Report, best_of, estimate_means
from colorlab.metrics.suite import mean_of

VALUES = torch.from_numpy(np.random.default_rng(1).gamma(9, 2.5, size=80))


def test_the_interval_equals_scipys_percentile_interval() -> None:
    found = estimate_means({"psnr": VALUES})["psnr"]
    expected = bootstrap((VALUES.numpy(),), np.mean, n_resamples=20_000, method="percentile").confidence_interval
    assert found.value == pytest.approx(VALUES.mean().item())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1)
    assert estimate_means({"psnr": VALUES})["psnr"] == found


def test_the_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    random = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(100):
        found = estimate_means({"psnr": torch.randn(50, generator=random, dtype=torch.float64)})["psnr"]
        covered += found.low < 0 < found.high
    assert 86 <= covered <= 99


def test_pictures_without_a_value_are_left_out() -> None:
    with_gaps = VALUES.clone()
    with_gaps[::2] = torch.nan
    found = estimate_means({"psnr": VALUES, "ms_ssim": with_gaps})
    assert found["ms_ssim"].value == pytest.approx(VALUES[1::2].mean().item())
    assert found["ms_ssim"].high - found["ms_ssim"].low > found["psnr"].high - found["psnr"].low


def test_a_metric_without_any_value_is_nan() -> None:
    found = estimate_means({"psnr": VALUES, "ms_ssim": VALUES * torch.nan})
    assert np.isnan(found["ms_ssim"].value)
    assert found["psnr"].low is not None


def test_an_infinite_mean_has_no_interval() -> None:
    found = estimate_means({"psnr": torch.full((5,), torch.inf), "ssim": torch.ones(5)})
    assert found == {"psnr": Estimate(np.inf), "ssim": Estimate(1.0, 1.0, 1.0)}


def test_the_rebalanced_auc_is_a_weighted_mean() -> None:
    weight = torch.linspace(1, 100, len(VALUES), dtype=torch.float64)
    record = {"auc_rebalanced": VALUES, "weight of auc_rebalanced": weight}
    found = estimate_means(record)["auc_rebalanced"]
    assert found.value == pytest.approx(np.average(VALUES, weights=weight)) == mean_of(record, "auc_rebalanced")
    assert found.low < found.value < found.high


def report(**values: float) -> Report:
    held = {name: {"psnr": Estimate(value), "colorfulness": Estimate(value)} for name, value in values.items()}
    return Report({}, [], {}, held)


def test_the_best_is_a_model_and_the_best_colorfulness_is_nearest_the_true_one() -> None:
    found = report(gray=50.0, true=30.0, small=20.0, near=29.0, large=45.0)
    assert best_of(found, "psnr") == {"large"}
    assert best_of(found, "colorfulness") == {"near"}
    assert best_of(report(gray=50.0, true=30.0, alone=20.0), "psnr") == set()
