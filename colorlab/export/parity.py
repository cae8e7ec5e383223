"""The comparison of a written file's colors with the colors of its model."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from colorlab.color import lab_to_rgb, rgb_to_lab, to_float
from colorlab.data.splits import SAMPLES
from colorlab.images.decoding import read_photograph
from colorlab.models import Colorizer

Program = Callable[[Tensor], Tensor]
"""L [B, 1, H, W] → ab [B, 2, H, W], or rgb [B, 3, H, W] → the same, colored."""

PHOTOGRAPH: Path = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"

LIMIT = {"ab": 0.1, "rgb": 0.001}
"""The largest allowed differences: about a quarter of one step of an 8-bit channel, which no 8-bit picture shows."""


@torch.inference_mode()
def difference(model: Colorizer, program: Program, rgb: bool = False) -> float:
    """Return the largest difference between a program's colors and the model's on a built-in photograph.

    The inputs are the whole photograph, and a batch of three crops with odd sides.

    Args:
        model: the model, with its padding and decoding.
        program: the written file.
        rgb: whether the program takes and returns RGB instead of L and ab.

    Returns:
        The difference in units of ab, or in RGB of 0..1; NaN if any color is NaN.
    """
    photograph = to_float(read_photograph(PHOTOGRAPH)[None])
    crops = torch.cat([photograph[..., at : at + 97, at : at + 131] for at in (0, 60, 120)])
    worst = torch.zeros(())
    for picture in (photograph, crops):
        lightness, _ = rgb_to_lab(picture)
        ab = model(lightness)
        true = lab_to_rgb(lightness, ab) if rgb else ab
        found = (program(picture if rgb else lightness) - true).abs().max()
        worst = torch.maximum(worst, found)  # propagates NaN, unlike Python's max
    return worst.item()
