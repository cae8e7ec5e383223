"""Weights in the layouts in which the architectures' authors publish theirs: which model a bare state dict is of."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from colorlab.models.colorizer import Colorizer
from colorlab.models.eccv16 import ECCV16
from colorlab.models.siggraph17 import Siggraph17

PUBLISHED: tuple[Callable[[], Colorizer], ...] = (ECCV16, Siggraph17)
"""What builds each published network."""


def recognize(weights: Any) -> Colorizer | None:
    """Return a model whose tensors have the names and shapes of these weights; None if there is none.

    The model's own weights are undefined: it takes neither the time nor the random numbers to draw them.

    Args:
        weights: what a file holds; anything but a state dict is not recognized.
    """
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        return None
    shapes = {name: value.to("meta") for name, value in weights.items()}
    for build in PUBLISHED:
        try:
            with torch.device("meta"):
                model = build()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's about copies between tensors without content
                model.load_state_dict(shapes)
        except RuntimeError:
            continue
        return model.to_empty(device="cpu")
    return None
