"""The logged value that a sweep compares its runs by."""

import math
import re
from collections.abc import Iterable
from typing import Literal

from colorlab.errors import UserError, did_you_mean
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics


def direction_of(metric: str) -> Literal["min", "max"]:
    """Return whether the compared value should fall or rise; a term of the loss, as val/loss/l1, should fall.

    Raises:
        UserError: runs do not log it, or neither a low nor a high value is better.
    """
    from colorlab.metrics import METRICS, direction

    if re.fullmatch(r"(train|val|test)/loss/.+", metric):
        return "min"
    better = {f"{stage}/{name}": direction(name) for stage in ("val", "test") for name in ("loss", *METRICS)}
    found = {"train/loss": direction("loss"), **better}.get(metric)
    if found is None:
        known = [name for name, better in better.items() if better and name.startswith("val/")]
        raise UserError(f"sweep.metric={metric} cannot be used to compare runs: {did_you_mean(metric, known)}")
    return found


def best_value(folder: RunFolder, metric: str) -> float:
    """Return the best value that a run logged of a metric; NaN if all were NaN.

    Raises:
        UserError: the run did not log the metric.
    """
    logged = read_metrics(folder)
    if metric not in logged:
        raise UserError(f"sweep.metric={metric} was not logged by the run; {did_you_mean(metric, logged)}")
    return best_of(logged[metric].values(), direction_of(metric))


def best_of(values: Iterable[float], direction: Literal["min", "max"]) -> float:
    """Return the least or the greatest value that is not NaN; NaN if there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return (min if direction == "min" else max)(numbers, default=math.nan)
