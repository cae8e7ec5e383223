"""Evaluation protocols: the size at which pictures are read, and what the networks are shown."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from colorlab.color import rgb_to_lab
from colorlab.config import Plan
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer

Protocol = Literal["stretch256", "native"]
"""Pictures stretched to 256×256, as in the literature, or at their own size and with their own L.

Colors outside sRGB are clipped, as in the literature; `colorlab.colorize` preserves L there instead.
"""

SIDE = 256
"""Side of the pictures that networks are shown in every protocol, in pixels."""


def with_protocol(data: Plan, protocol: Protocol) -> Plan:
    """Return the plan of a `ColorDataModule` with the arguments that a protocol decides.

    Raises:
        UserError: one of them has another value.
    """
    fixed = {"size": SIDE} if protocol == "stretch256" else {"size": None, "batch_size": 1}
    for key, value in fixed.items():
        if data.arguments.get(key, value) != value:
            raise UserError(f"data.{key}={data.arguments[key]} does not fit protocol={protocol}: remove it.")
    return data.with_arguments(**fixed)


def predict_ab(model: Colorizer, rgb: Tensor) -> Tensor:
    """Predict the colors of photographs from their L at 256×256.

    The predicted ab is resized to the picture's own size, to be joined with the picture's own L.

    Args:
        model: in evaluation mode.
        rgb: [B, 3, H, W] in 0..1.

    Returns:
        ab: [B, 2, H, W] float32 in -128..127.
    """
    size = rgb.shape[-2:]
    if size == (SIDE, SIDE):
        return model(rgb_to_lab(rgb)[0]).float()
    small = F.interpolate(rgb, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)
    return F.interpolate(model(rgb_to_lab(small)[0]).float(), size, mode="bilinear", align_corners=False)
