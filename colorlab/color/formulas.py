"""kornia's formulas of RGB → Lab and of gray Lab → RGB, without tensors of constants.

On a GPU kornia copies its constants from the CPU at each call, and the program waits until all earlier work on the
GPU is done. These formulas need no copy.

Source: CIE 15 for Lab under D65, IEC 61966-2-1 for the sRGB curve.
"""

import torch
from torch import Tensor

LUMINANCE = (0.212671, 0.715160, 0.072169)
RGB_TO_YXZ = (LUMINANCE, (0.412453, 0.357580, 0.180423), (0.019334, 0.119193, 0.950227))
WHITE = (1.0, 0.95047, 1.08883)
"""Linear sRGB to CIE Y, X and Z, and the Y, X and Z of white under D65, with kornia's digits."""

SRGB_KNEE, LIGHT_KNEE, LINEAR_KNEE = 0.04045, 0.008856, 0.0031308
"""Where the sRGB curve, Lab's curve and the inverse of the sRGB curve change from a line to a power."""


def linear_of(srgb: Tensor) -> Tensor:
    """Invert the sRGB curve, for any shape."""
    line, power = srgb / 12.92, ((srgb.clamp(min=SRGB_KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb > SRGB_KNEE, power, line)


def cube_root_of(light: Tensor) -> Tensor:
    """Apply Lab's curve, a cube root with a linear part near 0, for any shape."""
    line, power = 7.787 * light + 4 / 29, light.clamp(min=LIGHT_KNEE) ** (1 / 3)
    return torch.where(light > LIGHT_KNEE, power, line)


def gray_rgb(lightness: Tensor) -> Tensor:
    """Return gray pictures of a lightness, as `lab_to_rgb` does for an ab of 0, on one channel.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.

    Returns:
        rgb: [B, 3, H, W] float32 in 0..1, three times the same memory.
    """
    root = (lightness.float() + 16) / 116
    light = torch.where(root > LIGHT_KNEE ** (1 / 3), root.pow(3), (root - 4 / 29) / 7.787)
    power = 1.055 * light.clamp(min=LINEAR_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(light > LINEAR_KNEE, power, 12.92 * light).clamp(0, 1).expand(-1, 3, -1, -1)


def rgb_to_lab_by_formulas(rgb: Tensor) -> Tensor:
    """Convert rgb [B, 3, H, W] float32 in 0..1 to lab [B, 3, H, W] float32."""
    red, green, blue = linear_of(rgb).unbind(dim=1)
    y, x, z = (
        cube_root_of((red * (r / white)).add_(green, alpha=g / white).add_(blue, alpha=b / white))
        for (r, g, b), white in zip(RGB_TO_YXZ, WHITE, strict=True)
    )
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)
