"""How good a prediction is, and which values are better."""

from colorlab.metrics.per_picture import (
    IN_TRAINING,
    ON_PICTURES,
    Colored,
    Name,
    auc_of_pixels,
    colorfulness_of,
    measure,
    scores,
)
from colorlab.metrics.registry import METRICS, check_names, direction, goodness

__all__ = [
    "IN_TRAINING", "METRICS", "ON_PICTURES", "Colored", "Name", "auc_of_pixels", "check_names",
    "colorfulness_of", "direction", "goodness", "measure", "scores",
]  # fmt: skip
