"""How good a prediction is, and which way is better."""

from colorlab.metrics.per_picture import (
    IN_TRAINING,
    ON_PICTURES,
    SCALES,
    Colored,
    Name,
    auc_of_pixels,
    check_names,
    colorfulness_of,
    direction,
    goodness,
    measure,
    scores,
)

__all__ = [
    "IN_TRAINING", "ON_PICTURES", "SCALES", "Colored", "Name", "auc_of_pixels", "check_names", "colorfulness_of",
    "direction", "goodness", "measure", "scores",
]  # fmt: skip
