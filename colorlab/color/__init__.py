"""RGB ⇄ CIE Lab: the only package that knows a color range.

rgb: [B, 3, H, W] float32 in 0..1, sRGB (D65)
lab: [B, 3, H, W] float32
L:   [B, 1, H, W] float32, CIE L* in 0..100
ab:  [B, 2, H, W] float32, CIE a* and b*, about -128..127
"""

from colorlab.color.conversion import (
    AB_MAX,
    GRAY_AB,
    from_float,
    has_color,
    lab_to_rgb,
    lightness_of,
    rgb_to_lab,
    to_float,
)
from colorlab.color.formulas import gray_rgb
from colorlab.color.precision import exact

__all__ = [
    "AB_MAX", "GRAY_AB", "exact", "from_float", "gray_rgb", "has_color", "lab_to_rgb", "lightness_of", "rgb_to_lab",
    "to_float",
]  # fmt: skip
