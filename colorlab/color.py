"""RGB ⇄ CIE Lab: the only file that knows a color range.

    rgb: [B, 3, H, W] float32 in 0..1, sRGB (D65)
    lab: [B, 3, H, W] float32
    L:   [B, 1, H, W] float32, CIE L* in 0..100
    ab:  [B, 2, H, W] float32, CIE a* and b*, about -128..127

Conversions run in float32 whatever surrounds them. kornia guards only against half-precision
*inputs*: under bf16 autocast, with TF32 matrix products on CUDA, or where Lightning's "bf16-true"
makes bf16 the default of new tensors, its 3×3 matrix loses up to three units of a and b. So all
three are off in here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from kornia.color import lab_to_rgb as _lab_to_rgb
from kornia.color import rgb_to_lab as _rgb_to_lab
from torch import Tensor

GRAY_AB = 5.0
"""A picture none of whose pixels passes this in |a| or |b| is gray (Zhang's released training code)."""

AB_MAX = 128.0
"""Half the width of the ab range: an ab value divided by it lies in -1..1."""


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Float32 arithmetic that is float32: no autocast, no TF32, no other default for new tensors."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before, dtype = (cudnn.allow_tf32, matmul.allow_tf32), torch.get_default_dtype()
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
        torch.set_default_dtype(dtype)


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split a picture into lightness and color.

    Args:
        rgb: [B, 3, H, W]; uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100, and ab: [B, 2, H, W] float32 in -128..127.

    Source: CIE 15 for Lab under D65, IEC 61966-2-1 for the sRGB curve.
    """
    scaled = rgb.float() / 255 if rgb.dtype == torch.uint8 else rgb.float()
    with exact(rgb.device):
        lab = _rgb_to_lab(scaled)
    return lab[:, :1], lab[:, 1:]


def lab_to_rgb(L: Tensor, ab: Tensor) -> Tensor:
    """Join lightness and color into a picture; what sRGB cannot show is clipped.

    Not for a loss: its gradient is NaN outside the sRGB gamut.

    Args:
        L: [B, 1, H, W] in 0..100.
        ab: [B, 2, H, W] in -128..127.

    Returns:
        rgb: [B, 3, H, W] float32 in 0..1.
    """
    with exact(L.device):
        return _lab_to_rgb(torch.cat([L.float(), ab.float()], dim=1), clip=True)
