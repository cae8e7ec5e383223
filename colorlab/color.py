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


CHUNK = 65536
"""How many pixels a CPU converts at a time, so that what lies between the steps stays in its cache."""


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split a picture into lightness and color.

    kornia's takes three times as long on a CPU, for bytes.

    Args:
        rgb: [B, 3, H, W]; uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100, and ab: [B, 2, H, W] float32 in -128..127.

    Source: CIE 15 for Lab under D65, IEC 61966-2-1 for the sRGB curve.
    """
    with exact(rgb.device):
        lab = torch.empty(rgb.shape, device=rgb.device).flatten(2)
        bytes_to_linear = _linear(torch.arange(256, device=rgb.device) / 255)
        for pixels, result in zip(_parts(rgb.flatten(2)), _parts(lab), strict=True):
            if pixels.dtype == torch.uint8:
                linear = bytes_to_linear.index_select(0, pixels.flatten().int()).view(pixels.shape)
            else:
                linear = _linear(pixels.float())
            _lab_of_linear(linear, result)
    lab = lab.view(rgb.shape)
    return lab[:, :1], lab[:, 1:]


def _parts(pixels: Tensor) -> list[Tensor]:
    """What of [B, 3, N] is converted at a time: all of it, but on a CPU."""
    if pixels.device.type != "cpu":
        return [pixels]
    return [part for picture in pixels.split(1) for part in picture.split(CHUNK, dim=2)]


def _linear(srgb: Tensor) -> Tensor:
    """What the sRGB curve makes of 0..1: linear light, of the same shape.

    Below the knee the power stands still and the line falls short of its end by what is missing: no branch.
    """
    knee = 0.04045
    at_knee = ((knee + 0.055) / 1.055) ** 2.4
    return ((srgb.clamp(min=knee) + 0.055) / 1.055) ** 2.4 + (srgb / 12.92 - at_knee).clamp(max=0)


RGB_TO_YXZ = ((0.212671, 0.715160, 0.072169), (0.412453, 0.357580, 0.180423), (0.019334, 0.119193, 0.950227))
WHITE = (1.0, 0.95047, 1.08883)


def _lab_of_linear(rgb: Tensor, lab: Tensor) -> None:
    """Linear rgb [B, 3, N] → lab [B, 3, N]; below its knee the cube root is a line, as in `_linear`.

    All of it in the result's place, where y becomes L, x a and z b: on a CPU fresh memory costs more
    than the arithmetic. A matrix would have to be brought to the device, which waits for it.
    """
    knee = 0.008856
    red, green, blue = rgb.unbind(dim=1)
    y, x, z = lab.unbind(dim=1)
    for result, (r, g, b), white in zip((y, x, z), RGB_TO_YXZ, WHITE, strict=True):
        torch.mul(red, r / white, out=result).add_(green, alpha=g / white).add_(blue, alpha=b / white)
    line = (7.787 * lab).add_(4 / 29 - knee ** (1 / 3)).clamp_(max=0)
    lab.clamp_(min=knee).pow_(1 / 3).add_(line)
    x.sub_(y).mul_(500)
    z.sub_(y).mul_(-200)
    y.mul_(116).sub_(16)


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
