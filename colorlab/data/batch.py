"""The batch that a model learns from."""

from typing import NamedTuple

from torch import Tensor

from colorlab.color import rgb_to_lab


class Batch(NamedTuple):
    """L and ab of some photographs."""

    L: Tensor  # [B, 1, H, W] float32, CIE L* in 0..100
    ab: Tensor  # [B, 2, H, W] float32, CIE a* and b* in -128..127
    index: Tensor  # type: ignore[assignment]  # [B] int64, which photographs these are; hides tuple.index
    hints: Tensor | None = None  # [B, 3, H, W] float32: ab where they are known, else 0, and a mask of 1 and 0


def split_lab(rgb: Tensor, index: Tensor) -> Batch:
    """Split pictures into L and ab, on their device.

    Args:
        rgb: [B, 3, H, W], uint8 or float32 in 0..1.
        index: [B] int64, which photographs these are.
    """
    L, ab = rgb_to_lab(rgb)
    return Batch(L, ab, index)
