"""The jury: which metrics it measures, and Zhang's rebalanced area against a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from colorlab.bins import CENTERS, rebalancing
from colorlab.color import rgb_to_lab
from colorlab.data import ColorDataModule
from colorlab.data.color_histogram import cached_prior, read_prior
from colorlab.data.photographs import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.images.decoding import read_photograph
from colorlab.metrics import SCALES, Colored
from colorlab.metrics.jury import Jury, mean_of


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


def test_the_rebalanced_area_equals_a_loop_over_the_thresholds(prior: Path, colored: Colored) -> None:
    jury = Jury(["auc_rebalanced"], prior)
    record = jury.judge(colored, [])
    weight_of_bin = rebalancing(read_prior(prior), uniform=0).numpy()
    total, shares = 0.0, np.zeros(151)
    for predicted, true in zip(colored.predicted.double().numpy(), colored.true.double().numpy(), strict=True):
        error = np.sqrt(((predicted - true) ** 2).sum(0)).ravel()
        nearest = ((true.reshape(2, -1).T[:, None] - CENTERS.double().numpy()) ** 2).sum(-1).argmin(-1)
        weight = weight_of_bin[nearest]
        total += weight.sum()
        shares += [weight[error <= limit].sum() for limit in range(151)]
    assert mean_of(record, "auc_rebalanced") == pytest.approx(np.trapezoid(shares / total) / 150 * 100, abs=1e-3)


def test_with_equal_weights_the_rebalanced_area_is_the_area(prior: Path, colored: Colored) -> None:
    jury = Jury(["auc", "auc_rebalanced"], prior)
    jury.weights = torch.ones(len(CENTERS), dtype=torch.float64)
    record = jury.judge(colored, [])
    assert record["auc_rebalanced"].tolist() == pytest.approx(record["auc"].tolist(), rel=1e-6)


def test_every_metric_is_measured_or_left_out_with_a_reason(prior: Path, colored: Colored) -> None:
    jury = Jury(None, prior)
    true = Colored(colored.lightness, colored.true, colored.true)
    seen = jury.see(true.photograph)
    record, of_true = jury.judge(colored, seen), jury.judge(true, seen)
    found = {name for name in SCALES if name in record} | set(jury.judge_sets(record, of_true))
    assert found == set(jury.metrics)
    assert found | set(jury.left_out) == set(SCALES)


def test_the_difference_in_colorfulness_is_of_the_means(colored: Colored) -> None:
    jury = Jury(["colorfulness", "delta_colorfulness"])
    predicted = {"colorfulness": torch.tensor([10.0, 50.0])}
    true = {"colorfulness": torch.tensor([40.0, 30.0])}
    assert jury.judge_sets(predicted, true) == {"delta_colorfulness": 5.0}


def test_only_what_was_asked_for_is_measured(prior: Path, colored: Colored) -> None:
    jury = Jury(["psnr", "lite0_kid"], prior)
    seen = jury.see(colored.photograph)
    record = jury.judge(colored, seen)
    assert set(record) == {"psnr", "seen by Lite0"}
    assert set(jury.judge_sets(record, record)) == {"lite0_kid"}


def test_the_difference_in_colorfulness_can_be_asked_for_alone(colored: Colored) -> None:
    jury = Jury(["delta_colorfulness"])
    record = jury.judge(colored, [])
    assert jury.judge_sets(record, record) == {"delta_colorfulness": 0.0}


def test_the_rebalanced_area_asked_for_by_name_needs_a_prior() -> None:
    with pytest.raises(UserError, match="prior"):
        Jury(["auc_rebalanced"])
