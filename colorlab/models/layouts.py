"""Published layouts: which model a bare state dict is of, by the names and shapes of its tensors."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from colorlab.models.colorizer import Colorizer
from colorlab.models.ddcolor import DDColor
from colorlab.models.eccv16 import ECCV16
from colorlab.models.siggraph17 import Siggraph17


class Layout(NamedTuple):
    """A published network: how to build it, and the name and shape of a tensor that tells it from the others."""

    build: Callable[[], Colorizer]
    tensor: str
    shape: tuple[int, ...]


LAYOUTS = (
    Layout(ECCV16, "model8.6.weight", (313, 256, 1, 1)),
    Layout(Siggraph17, "model_class.0.weight", (529, 256, 1, 1)),
    Layout(partial(DDColor, "tiny"), "encoder.arch.norm3.weight", (768,)),
    Layout(partial(DDColor, "large"), "encoder.arch.norm3.weight", (1536,)),
)


def recognize(weights: Any) -> Colorizer | None:
    """Return a model whose tensors have the names and shapes of these weights; None if there is none.

    The model's own weights are undefined: it takes neither the time nor the random numbers to draw them.

    Args:
        weights: what a file holds; anything but a state dict is not recognized.
    """
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        return None
    for build, tensor, shape in LAYOUTS:
        if tensor in weights and weights[tensor].shape == shape:
            with torch.device("meta"):
                model = build()
            return model.to_empty(device="cpu") if _fits(weights, model) else None
    return None


def _fits(weights: dict[str, Tensor], model: Colorizer) -> bool:
    """Return whether a model without memory can load weights of these names and shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about copies between tensors without content
        try:
            model.load_state_dict({name: value.to("meta") for name, value in weights.items()})
        except RuntimeError:
            return False
    return True
