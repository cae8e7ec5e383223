"""What an evaluation found: the scores of each contestant, with their intervals."""

import math
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from colorlab.evaluate.evaluator import BASELINES, Evaluator
from colorlab.metrics import METRICS, goodness
from colorlab.metrics.suite import Record

RESAMPLES = 2000
LEVEL = 0.95


@dataclass
class Estimate:
    """A score of a set; with the interval where it is a mean over pictures."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass
class Report:
    """An evaluation's findings.

    Args:
        facts: what the numbers depend on: protocol, data, checkpoints, versions, …
        names: of the photographs, [N].
        records: of each contestant, the values of each metric, [N].
        estimates: of each contestant, the score of each metric.
    """

    facts: dict[str, Any]
    names: list[str]
    records: dict[str, Record]
    estimates: dict[str, dict[str, Estimate]]

    @property
    def metrics(self) -> list[str]:
        """What was measured, in the order of the tables."""
        return [name for name in METRICS if any(name in found for found in self.estimates.values())]


def summarize(evaluator: Evaluator, facts: dict[str, Any]) -> Report:
    """The report of an evaluator that has seen all photographs."""
    suite, true = evaluator.suite, evaluator.records["true"]
    estimates = {name: estimate_means(record) for name, record in evaluator.records.items()}
    for name, record in evaluator.records.items():
        estimates[name] |= {metric: Estimate(value) for metric, value in suite.measure_set(record, true).items()}
    photographs = [evaluator.photographs.name(index) for index in evaluator.index.tolist()]
    return Report(facts, photographs, evaluator.records, estimates)


def estimate_means(record: Record) -> dict[str, Estimate]:
    """The mean over the pictures of each metric, with its 95 % bootstrap interval.

    The pictures are drawn again with replacement, 2000 times, the same ones for every contestant and
    metric; the interval runs from the 2.5th to the 97.5th percentile of the means. Pictures without
    a value (NaN) count for nothing. An infinite mean has no interval.

    Source: Efron, Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    metrics = [name for name in METRICS if name in record]
    values = np.stack([record[name].double().numpy() for name in metrics], axis=1)
    weights = np.stack([_weights(record, name) for name in metrics], axis=1)
    weights[np.isnan(values)] = 0
    values[np.isnan(values)] = 0
    random, alike = np.random.default_rng(0), np.full(len(values), 1 / len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (values * weights).sum(axis=0) / weights.sum(axis=0)
        drawn = np.empty((RESAMPLES, len(metrics)))
        for resample in drawn:
            counts = random.multinomial(len(values), alike)
            resample[:] = (counts @ (values * weights)) / (counts @ weights)
        low, high = np.percentile(drawn, [50 - LEVEL * 50, 50 + LEVEL * 50], axis=0)
    found = {}
    for place, name in enumerate(metrics):
        sure = np.isfinite(values[:, place]).all() and len(values) > 1
        interval = (float(low[place]), float(high[place])) if sure else (None, None)
        found[name] = Estimate(float(means[place]), *interval)
    return found


def _weights(record: Record, metric: str) -> np.ndarray:
    """How much each picture counts in a mean: alike, but in the rebalanced AuC by its pixels' weights."""
    if (key := f"weight of {metric}") in record:
        return record[key].double().numpy()
    return np.ones(len(record[metric]))


def best_of(report: Report, metric: str) -> set[str]:
    """The contestants, without the baselines, that no other beats by this metric."""
    found = {name: held[metric].value for name, held in report.estimates.items() if name not in BASELINES}
    found = {name: value for name, value in found.items() if not math.isnan(value)}
    if len(found) < 2:
        return set()
    true = report.estimates["true"][metric].value
    good = {name: goodness(metric, value, true) for name, value in found.items()}
    return {name for name, value in good.items() if value == max(good.values())}


def versions() -> dict[str, str]:
    """Of everything the numbers may depend on."""
    packages = ("colorlab", "torch", "torchvision", "torchmetrics", "kornia", "lightning", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
