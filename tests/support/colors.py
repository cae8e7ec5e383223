"""Colors for the tests of conversions, and scikit-image's Lab of them."""

from itertools import product

import numpy as np
import torch
from skimage.color import rgb2lab

from colorlab.data.splits import SAMPLES
from colorlab.images.decoding import read_photograph

TOLERANCE = 1e-4
"""Of L, a and b, in CIE units."""


def grays() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)


def cube_faces() -> torch.Tensor:
    """Return every color with a channel at 0 or 255, in steps of 5."""
    steps = range(0, 256, 5)
    faces = [color for color in product(steps, repeat=3) if 0 in color or 255 in color]
    return torch.tensor(faces, dtype=torch.uint8).T[None, :, None]


def photographs() -> torch.Tensor:
    names = "fishes_fish1", "erase_kingfisher", "explore_world_animals_scarlet_macaw"
    pixels = [read_photograph(SAMPLES / f"{name}.jpg").flatten(1) for name in names]
    return torch.cat(pixels, dim=1)[None, :, None]


def dark() -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(0, 64, 3, dtype=torch.uint8)] * 3).T[None, :, None]


def around_the_knees() -> torch.Tensor:
    """Return fractions, gray and colored, around the values where each curve changes from a line to a power."""
    srgb = 0.04045 + torch.linspace(-2e-3, 2e-3, 2000)
    light = 0.008856 + torch.linspace(-1e-3, 1e-3, 2000)
    gray = torch.cat([srgb, 1.055 * light ** (1 / 2.4) - 0.055]).expand(3, -1)
    return torch.cat([gray, gray * torch.tensor([[1.0], [0.8], [0.6]])], dim=1)[None, :, None]


def reference(rgb: torch.Tensor) -> np.ndarray:
    whole = 1 if rgb.is_floating_point() else 255
    return rgb2lab(rgb[0].permute(1, 2, 0).double().numpy() / whole).transpose(2, 0, 1)
