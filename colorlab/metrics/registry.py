"""The metrics that colorlab knows: titles, directions, digits; and metrics of other packages, which are classes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor

from colorlab.config import check
from colorlab.errors import UserError, did_you_mean
from colorlab.metrics.per_picture import MEASURES, Colored


class MetricInfo(NamedTuple):
    """How a metric is written and compared.

    Args:
        title: the name in tables and plots.
        direction: whether larger or smaller values are better; None where the best value is the photograph's own.
        digits: the number of decimals in tables.
    """

    title: str
    direction: Literal["min", "max"] | None
    digits: int


METRICS = {
    "psnr": MetricInfo("PSNR (dB)", "max", 2),
    "ssim": MetricInfo("SSIM", "max", 4),
    "ms_ssim": MetricInfo("MS-SSIM", "max", 4),
    "ciede2000": MetricInfo("CIEDE2000", "min", 2),
    "colorfulness": MetricInfo("colorfulness", None, 2),
    "delta_colorfulness": MetricInfo("ΔCF", "min", 2),
    "auc": MetricInfo("AuC (%)", "max", 2),
    "auc_rebalanced": MetricInfo("AuC rebalanced (%)", "max", 2),
    "ab_rmse": MetricInfo("ab RMSE", "min", 2),
    "lite0_distance": MetricInfo("Lite0 distance", "min", 4),
    "lite0_kid": MetricInfo("Lite0 KID", "min", 4),
    "lite0_agreement": MetricInfo("Lite0 agreement (%)", "max", 1),
    "lpips": MetricInfo("LPIPS", "min", 4),
    "fid": MetricInfo("FID", "min", 2),
    "kid": MetricInfo("KID", "min", 4),
}
"""Every metric, in the order of the tables."""


class PictureMetric(ABC):
    """A metric of single pictures; the score of a set is the mean over its pictures.

    A subclass is chosen by its qualified name, `metrics=[psnr,mylab.metrics.HueError]`, or in a file by a node with a
    `_target_` and the arguments of its constructor.

    Attributes:
        name: the metric's name in logs, as in val/NAME, and in files.
        title, direction, digits: as in `MetricInfo`.
    """

    name: str
    title: str
    direction: Literal["min", "max"] | None = None
    digits: int = 2

    @abstractmethod
    def __call__(self, colored: Colored) -> Tensor:
        """Compute the metric of each picture, [B]; NaN where it has no value."""


def metric_names(entries: Iterable[str | Mapping[str, Any]]) -> list[str]:
    """Return the names of the chosen metrics; classes are built, and from then on known by their names.

    Args:
        entries: names, qualified names of classes, and nodes with a `_target_`.

    Raises:
        UserError: they are no list, or one of them is no metric, or has the name of another one.
    """
    check_entries(entries)
    names: list[str] = []
    for entry in entries:
        if isinstance(entry, Mapping) or (isinstance(entry, str) and "." in entry):
            node = entry if isinstance(entry, Mapping) else {"_target_": entry}
            if "_target_" not in node:
                raise UserError(f"metrics has {entry}: an entry is a name, or {{_target_: CLASS}} with its arguments.")
            name = _register(check(node, "metrics", kind=PictureMetric).build())
            if name in names:
                raise UserError(f"metrics has two metrics with the name {name}: give one of them another name.")
        else:
            check_names([name := entry])
        names.append(name)
    return names


def check_entries(entries: object) -> None:
    """Check that what a configuration has as `metrics` is a list.

    Raises:
        UserError: it is not.
    """
    if not isinstance(entries, list | tuple):
        raise UserError(f"metrics={entries} must be a list: metrics=[psnr,ssim].")


def _register(metric: PictureMetric) -> str:
    kind = f"{type(metric).__module__}.{type(metric).__qualname__}"
    for attribute in ("name", "title"):
        if not isinstance(getattr(metric, attribute, None), str):
            raise UserError(f"metrics={kind} has no {attribute}: a PictureMetric has the attributes name and title.")
    if not metric.name.isidentifier() or metric.name == "loss":
        raise UserError(f"metrics={kind} has the name {metric.name!r}: use letters, digits and _, and not loss.")
    if metric.direction not in ("min", "max", None):
        raise UserError(f"metrics={kind} has the direction {metric.direction!r}: it must be min, max or None.")
    if metric.name in METRICS and type(MEASURES.get(metric.name)) is not type(metric):
        raise UserError(f"metrics={kind} has the name {metric.name}, which is another metric's: give it another name.")
    METRICS[metric.name] = MetricInfo(metric.title, metric.direction, metric.digits)
    MEASURES[metric.name] = metric
    return metric.name


def check_names(names: Iterable[str]) -> None:
    """Check that each name is the name of a metric.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if name not in METRICS:
            raise UserError(f"metrics={name} is not a metric: {did_you_mean(str(name), METRICS)}")


def direction(name: str) -> Literal["min", "max"] | None:
    """Return whether a logged value should fall or rise; None if neither is better or the name is unknown.

    Args:
        name: a metric, "loss" or a term of it, with or without a stage: "psnr", "val/psnr", "val/loss", "val/loss/l1".
    """
    if "loss" in name.split("/"):
        return "min"
    metric = name.rpartition("/")[2]
    return METRICS[metric].direction if metric in METRICS else None


def goodness(metric: str, value: float, true: float) -> float:
    """Return a number that is higher for better values of a metric.

    Args:
        metric: the metric's name.
        value: its value for the prediction.
        true: its value for the photograph; used only where the best value is the photograph's own.
    """
    match METRICS[metric].direction:
        case "max":
            return value
        case "min":
            return -value
        case None:
            return -abs(value - true)
