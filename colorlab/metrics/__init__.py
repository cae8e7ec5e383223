"""How good a prediction is, and which values are better."""

from colorlab.metrics.per_picture import (
    IN_TRAINING,
    MEASURES,
    Colored,
    auc_of_pixels,
    colorfulness_of,
    measure,
    scores,
)
from colorlab.metrics.registry import (
    METRICS,
    PictureMetric,
    check_entries,
    check_names,
    direction,
    goodness,
    metric_names,
)

__all__ = [
    "IN_TRAINING", "MEASURES", "METRICS", "Colored", "PictureMetric", "auc_of_pixels", "check_entries",
    "check_names",
    "colorfulness_of", "direction", "goodness", "measure", "metric_names", "scores",
]  # fmt: skip
