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
from kornia.color import linear_rgb_to_rgb, rgb_to_linear_rgb
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


def lightness_of(picture: Tensor) -> Tensor:
    """The L of pictures, without their ab: quicker than `rgb_to_lab`.

    Args:
        picture: [B, 1 or 3, H, W], gray or RGB; uint8, uint16, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100.
    """
    with exact(picture.device):
        linear = _linear(picture)
        if linear.shape[1] == 3:
            red, green, blue = (share * linear[:, place] for place, share in enumerate(_LUMINANCE))
            linear = (red + green + blue)[:, None]
        root = torch.where(linear > 0.008856, linear.clamp(min=0.008856) ** (1 / 3), 7.787 * linear + 4 / 29)
        return 116 * root - 16


def _linear(picture: Tensor) -> Tensor:
    """Undo the sRGB curve: by a table of all values there are, where these are whole numbers."""
    if picture.is_floating_point():
        return rgb_to_linear_rgb(picture.float().expand(-1, 3, -1, -1))[:, : picture.shape[1]]
    whole = torch.iinfo(picture.dtype).max
    table = rgb_to_linear_rgb((torch.arange(whole + 1, device=picture.device) / whole).expand(3, 1, -1))[0, 0]
    places = picture.contiguous().to(torch.int32)
    return table.index_select(0, places.flatten()).view(places.shape)


def lab_to_rgb(L: Tensor, ab: Tensor, keep_L: bool = False) -> Tensor:
    """Join lightness and color into a picture.

    Not for a loss: its gradient is NaN outside the sRGB gamut.

    Args:
        L: [B, 1, H, W] in 0..100.
        ab: [B, 2, H, W] in -128..127.
        keep_L: what sRGB cannot show is brought nearer to gray until it can, and its L stays as it is.
            Otherwise it is clipped, which changes L.

    Returns:
        rgb: [B, 3, H, W] float32 in 0..1.
    """
    with exact(L.device):
        rgb = _lab_to_rgb(torch.cat([L.float(), ab.float()], dim=1), clip=False)
        if keep_L:
            far = ((rgb < -_NEAR) | (rgb > 1 + _NEAR)).any(dim=1)
            if far.any():
                rgb.movedim(1, -1)[far] = _toward_gray(rgb.movedim(1, -1)[far])
    return rgb.clamp_(0, 1)


_LUMINANCE = (0.212671, 0.715160, 0.072169)
"""Y of linear red, green and blue (IEC 61966-2-1), as kornia has them."""

_NEAR = 1e-4
"""Colors that pass sRGB's bounds by less are let be: rounding."""


def _toward_gray(rgb: Tensor) -> Tensor:
    """Mix colors outside sRGB, [N, 3], with the gray of their luminance until they lie inside.

    Mixed as light is, in linear RGB, so that the luminance, and with it L, stays.
    """
    linear = rgb_to_linear_rgb(rgb.T[:, None]).squeeze(1)  # [3, N]
    luminance = (torch.tensor(_LUMINANCE, device=rgb.device) @ linear).clamp(0, 1)
    beyond = linear - luminance
    room = torch.where(beyond > 0, 1 - luminance, luminance)
    share = (room / beyond.abs().clamp(min=1e-9)).amin(dim=0).clamp(max=1)
    return linear_rgb_to_rgb((luminance + share * beyond)[:, None]).squeeze(1).T
