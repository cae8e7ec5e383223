"""The scores of each model with their confidence intervals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from colorlab.evaluate.evaluator import BASELINES, Evaluator
from colorlab.metrics import METRICS, goodness
from colorlab.metrics.suite import Record, weights_of

RESAMPLES = 2000
"""How many bootstrap samples are drawn."""

LEVEL = 0.95
"""The confidence level of the intervals."""


@dataclass
class Estimate:
    """A score of a set, with its interval if the score is a mean over pictures."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass
class Report:
    """The results of an evaluation.

    Args:
        facts: what the numbers depend on: protocol, data, checkpoints, versions, …
        names: the names of the photographs, [N].
        records: for each model and baseline the values of each metric, [N].
        estimates: for each model and baseline the score by each metric.
    """

    facts: dict[str, Any]
    names: list[str]
    records: dict[str, Record]
    estimates: dict[str, dict[str, Estimate]]

    @property
    def metrics(self) -> list[str]:
        """The metrics that any model has, in the order of the tables."""
        return [name for name in METRICS if any(name in found for found in self.estimates.values())]


def summarize(evaluator: Evaluator, facts: dict[str, Any]) -> Report:
    """Make the report of an evaluator that has finished its pass."""
    suite, true = evaluator.suite, evaluator.records["true"]
    estimates = {name: estimate_means(record) for name, record in evaluator.records.items()}
    for name, record in evaluator.records.items():
        estimates[name] |= {metric: Estimate(value) for metric, value in suite.measure_set(record, true).items()}
    photographs = [evaluator.photographs.name(index) for index in evaluator.index.tolist()]
    return Report(facts, photographs, evaluator.records, estimates)


def estimate_means(record: Record) -> dict[str, Estimate]:
    """Estimate the mean of each metric over the pictures, with its 95 % bootstrap interval.

    The pictures are resampled with replacement 2000 times, the same samples for every model and metric; the interval
    runs from the 2.5th to the 97.5th percentile of the means. Pictures without a value (NaN) are left out of a
    metric. An infinite mean has no interval.

    Source: Efron, Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    metrics = [name for name in METRICS if name in record]
    values = np.stack([record[name].double().numpy() for name in metrics], axis=1)
    weights = np.stack([weights_of(record, name).numpy() for name in metrics], axis=1)
    weights[np.isnan(values)] = 0
    values[np.isnan(values)] = 0
    random, uniform = np.random.default_rng(0), np.full(len(values), 1 / len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (values * weights).sum(axis=0) / weights.sum(axis=0)
        resamples = np.empty((RESAMPLES, len(metrics)))
        for resample in resamples:
            counts = random.multinomial(len(values), uniform)
            resample[:] = (counts @ (values * weights)) / (counts @ weights)
        low, high = np.percentile(resamples, [50 - LEVEL * 50, 50 + LEVEL * 50], axis=0)
    found = {}
    for place, name in enumerate(metrics):
        has_interval = np.isfinite(values[:, place]).all() and len(values) > 1
        interval = (float(low[place]), float(high[place])) if has_interval else (None, None)
        found[name] = Estimate(float(means[place]), *interval)
    return found


def best_of(report: Report, metric: str) -> set[str]:
    """Return the models, without the baselines, that no other model beats by this metric."""
    found = {name: held[metric].value for name, held in report.estimates.items() if name not in BASELINES}
    found = {name: value for name, value in found.items() if not math.isnan(value)}
    if len(found) < 2:
        return set()
    true = report.estimates["true"][metric].value
    good = {name: goodness(metric, value, true) for name, value in found.items()}
    return {name for name, value in good.items() if value == max(good.values())}
