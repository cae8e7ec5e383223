"""Which metrics a suite computes, and the rebalanced AuC against a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from colorlab.bins import CENTERS, rebalancing
from colorlab.color import rgb_to_lab
from colorlab.data import ColorDataModule
from colorlab.data.color_histogram import cached_prior, read_prior
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.images.decoding import read_photograph
from colorlab.metrics import METRICS, Colored
from colorlab.metrics.suite import MetricSuite, mean_of


@pytest.fixture(scope="module")
def prior() -> Path:
    return cached_prior(ColorDataModule(size=32, workers=0), "test")


@pytest.fixture(scope="module")
def colored() -> Colored:
    """Three photographs, 48², with half their color."""
    names = find_photographs(SAMPLES)[::70]
    rgb = torch.stack([read_photograph(SAMPLES / name)[:, 60:108, 60:108] for name in names]).float() / 255
    lightness, true = rgb_to_lab(rgb)
    return Colored(lightness, true * 0.5, true)


def test_the_rebalanced_auc_equals_a_loop_over_the_thresholds(prior: Path, colored: Colored) -> None:
    suite = MetricSuite(["auc_rebalanced"], prior)
    record = suite.measure(colored, [])
    weight_of_bin = rebalancing(read_prior(prior), uniform=0).numpy()
    total, shares = 0.0, np.zeros(151)
    for predicted, true in zip(colored.predicted.double().numpy(), colored.true.double().numpy(), strict=True):
        error = np.sqrt(((predicted - true) ** 2).sum(0)).ravel()
        nearest = ((true.reshape(2, -1).T[:, None] - CENTERS.double().numpy()) ** 2).sum(-1).argmin(-1)
        weight = weight_of_bin[nearest]
        total += weight.sum()
        shares += [weight[error <= limit].sum() for limit in range(151)]
    assert mean_of(record, "auc_rebalanced") == pytest.approx(np.trapezoid(shares / total) / 150 * 100, abs=1e-3)


def test_with_equal_weights_the_rebalanced_auc_is_the_auc(prior: Path, colored: Colored) -> None:
    suite = MetricSuite(["auc", "auc_rebalanced"], prior)
    suite.weights = torch.ones(len(CENTERS), dtype=torch.float64)
    record = suite.measure(colored, [])
    assert record["auc_rebalanced"].tolist() == pytest.approx(record["auc"].tolist(), rel=1e-6)


def test_every_metric_is_computed_or_left_out_with_a_reason(prior: Path, colored: Colored) -> None:
    suite = MetricSuite(None, prior)
    true = Colored(colored.lightness, colored.true, colored.true)
    features = suite.features(true.photograph)
    record, of_true = suite.measure(colored, features), suite.measure(true, features)
    found = {name for name in METRICS if name in record} | set(suite.measure_set(record, of_true))
    assert found == set(suite.metrics)
    assert found | set(suite.left_out) == set(METRICS)


def test_delta_colorfulness_is_the_difference_of_the_means(colored: Colored) -> None:
    suite = MetricSuite(["colorfulness", "delta_colorfulness"])
    predicted = {"colorfulness": torch.tensor([10.0, 50.0])}
    true = {"colorfulness": torch.tensor([40.0, 30.0])}
    assert suite.measure_set(predicted, true) == {"delta_colorfulness": 5.0}


def test_only_requested_metrics_are_computed(prior: Path, colored: Colored) -> None:
    suite = MetricSuite(["psnr", "lite0_kid"], prior)
    features = suite.features(colored.photograph)
    record = suite.measure(colored, features)
    assert set(record) == {"psnr", "features of Lite0"}
    assert set(suite.measure_set(record, record)) == {"lite0_kid"}


def test_delta_colorfulness_can_be_requested_alone(colored: Colored) -> None:
    suite = MetricSuite(["delta_colorfulness"])
    record = suite.measure(colored, [])
    assert suite.measure_set(record, record) == {"delta_colorfulness": 0.0}


def test_a_requested_rebalanced_auc_needs_a_prior() -> None:
    with pytest.raises(UserError, match="prior"):
        MetricSuite(["auc_rebalanced"])
