"""Conversion between RGB and Lab by kornia, or by its formulas where they are faster."""

import torch
from kornia.color import lab_to_rgb as kornia_lab_to_rgb
from kornia.color import linear_rgb_to_rgb, rgb_to_linear_rgb
from kornia.color import rgb_to_lab as kornia_rgb_to_lab
from torch import Tensor

from colorlab.color.formulas import LUMINANCE, cube_root_of, linear_of, rgb_to_lab_by_formulas
from colorlab.color.precision import exact
from colorlab.color.tables import (
    LIGHT_STEPS,
    REST_UNIT,
    cube_root_by_table_,
    linear_by_tables,
    rgb_to_lab_by_tables,
    tables_apply,
)

GRAY_AB = 5.0
"""A picture is gray if |a| and |b| of all its pixels are at most this (Zhang's released training code)."""

AB_MAX = 128.0
"""Half the width of the ab range: ab divided by it lies in -1..1."""


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split pictures into lightness and color.

    On a CPU the tables are used where they apply, on a GPU the formulas, otherwise kornia; all agree to 1e-4.

    Args:
        rgb: [B, 3, H, W]; uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100, and ab: [B, 2, H, W] float32 in -128..127.

    Source: CIE 15 for Lab under D65, IEC 61966-2-1 for the sRGB curve.
    """
    with exact(rgb.device):
        if tables_apply(rgb):
            lab = rgb_to_lab_by_tables(rgb)
        elif rgb.is_cuda and not torch.compiler.is_compiling():
            lab = rgb_to_lab_by_formulas(to_float(rgb))
        else:
            lab = kornia_rgb_to_lab(to_float(rgb))
    return lab[:, :1], lab[:, 1:]


def to_float(rgb: Tensor) -> Tensor:
    """Return uint8, uint16 or floating-point colors as float32 in 0..1."""
    return rgb.float() if rgb.is_floating_point() else rgb.float() / torch.iinfo(rgb.dtype).max


def from_float(rgb: Tensor, dtype: torch.dtype) -> Tensor:
    """Return colors in 0..1 as `dtype`; as uint8 or uint16, they are rounded to the nearest level."""
    return rgb.to(dtype) if dtype.is_floating_point else (rgb * torch.iinfo(dtype).max).round_().to(dtype)


def has_color(ab: Tensor) -> Tensor:
    """Return which pictures, ab [B, 2, H, W], are not gray: [B] bool."""
    return ab.abs().amax(dim=(1, 2, 3)) > GRAY_AB


def lightness_of(picture: Tensor) -> Tensor:
    """Return the L of pictures without computing ab, faster than `rgb_to_lab`.

    Args:
        picture: [B, 1 or 3, H, W], gray or RGB; uint8, uint16, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100.
    """
    with exact(picture.device):
        by_tables = tables_apply(picture)
        linear = linear_by_tables(picture) if by_tables else linear_of(to_float(picture))
        if linear.shape[1] == 3:
            red, green, blue = (share * linear[:, channel] for channel, share in enumerate(LUMINANCE))
            linear = (red + green + blue)[:, None]
        if not by_tables:
            return cube_root_of(linear).mul_(116).sub_(16)
        root, rest = cube_root_by_table_(linear.mul_(LIGHT_STEPS))
        return root.add_(rest, alpha=REST_UNIT).mul_(116).sub_(16)


def lab_to_rgb(L: Tensor, ab: Tensor, keep_L: bool = False) -> Tensor:
    """Join lightness and color into pictures.

    The gradient is finite everywhere, and 0 for a channel that is clipped.

    Args:
        L: [B, 1, H, W] in 0..100.
        ab: [B, 2, H, W] in -128..127.
        keep_L: colors outside sRGB are mixed with gray until they are inside, which preserves L; otherwise they are
            clipped, which changes L.

    Returns:
        rgb: [B, 3, H, W] float32 in 0..1.
    """
    with exact(L.device):
        rgb = kornia_lab_to_rgb(torch.cat([L.float(), ab.float()], dim=1), clip=False)
        if keep_L:
            outside = ((rgb < -_ROUNDING) | (rgb > 1 + _ROUNDING)).any(dim=1)
            if outside.any():
                rgb.movedim(1, -1)[outside] = _mix_with_gray(rgb.movedim(1, -1)[outside])
    return rgb.clamp_(0, 1)


_ROUNDING = 1e-4
"""Colors that exceed sRGB's bounds by less are inside it but for rounding."""


def _mix_with_gray(rgb: Tensor) -> Tensor:
    """Mix colors outside sRGB, [N, 3], with the gray of their luminance until they are inside.

    The mixture is in linear RGB, which preserves the luminance and so L.
    """
    linear = rgb_to_linear_rgb(rgb.T[:, None]).squeeze(1)  # [3, N]
    luminance = (torch.tensor(LUMINANCE, device=rgb.device) @ linear).clamp(0, 1)
    difference = linear - luminance
    room = torch.where(difference > 0, 1 - luminance, luminance)
    share = (room / difference.abs().clamp(min=1e-9)).amin(dim=0).clamp(max=1)
    return linear_rgb_to_rgb((luminance + share * difference)[:, None]).squeeze(1).T
