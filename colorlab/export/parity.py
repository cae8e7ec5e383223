"""Whether a written file colors as the model does that it was written from."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from colorlab.color import lab_to_rgb, rgb_to_lab
from colorlab.data.photographs import SAMPLES
from colorlab.images.decoding import read_photograph
from colorlab.models import Colorizer

Program = Callable[[Tensor], Tensor]
"""L [B, 1, H, W] → ab [B, 2, H, W], or rgb [B, 3, H, W] → the same, colored."""

PHOTOGRAPH: Path = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"

LIMIT = {"ab": 0.1, "rgb": 0.001}
"""Differences that no picture of 8 bits would show: about a quarter of one step of a channel."""


@torch.inference_mode()
def difference(model: Colorizer, program: Program, rgb: bool = False) -> float:
    """The largest difference between a program's colors and the model's, on a built-in photograph.

    It is shown whole, and as a batch of three pieces whose sides are odd.

    Args:
        model: as PyTorch runs it; padding, decoding and all.
        program: what was written.
        rgb: whether the program takes RGB and gives it, in place of L and ab.

    Returns:
        In units of ab, or of RGB in 0..1; NaN if a color of either is no number.
    """
    photograph = read_photograph(PHOTOGRAPH)[None] / 255
    pieces = torch.cat([photograph[..., at : at + 97, at : at + 131] for at in (0, 60, 120)])
    worst = torch.zeros(())
    for picture in (photograph, pieces):
        lightness, _ = rgb_to_lab(picture)
        ab = model(lightness)
        true = lab_to_rgb(lightness, ab) if rgb else ab
        found = (program(picture if rgb else lightness) - true).abs().max()
        worst = torch.maximum(worst, found)  # which keeps NaN; Python's max does not
    return worst.item()
