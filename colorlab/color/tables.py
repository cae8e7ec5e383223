"""RGB → Lab on a CPU by tables of the two curves, in a quarter of kornia's time.

Integers are looked up in a table of all their values; fractions are interpolated linearly between the entries.
"""

from functools import cache

import torch
from torch import Tensor

from colorlab.color.formulas import LIGHT_KNEE, RGB_TO_YXZ, SRGB_KNEE, WHITE, cube_root_of, linear_of

_CHUNK = 65536
"""How many pixels are converted at a time, so that intermediate results stay in the CPU's cache."""

_SRGB_STEPS, LIGHT_STEPS = 2650 / SRGB_KNEE, 1160 / LIGHT_KNEE
"""Steps of the tables from 0 to 1. The knees, where the curves bend or jump, are at the ends of steps."""

_MAX = 1.001
"""The largest value in the tables' range; values slightly above 1 come from rounding."""


def tables_apply(picture: Tensor) -> bool:
    """Return whether the tables can convert a picture: on a CPU, without a gradient, and with values in 0..1."""
    if picture.device.type != "cpu" or torch.compiler.is_compiling() or not picture.numel():
        return False
    if not picture.is_floating_point():
        return True
    low, high = picture.detach().aminmax()
    return bool(low >= 0 and high <= _MAX) and not (picture.requires_grad and torch.is_grad_enabled())


def rgb_to_lab_by_tables(rgb: Tensor) -> Tensor:
    """Convert rgb [B, 3, H, W], integers or fractions, to lab [B, 3, H, W] float32."""
    lab = torch.empty(rgb.shape)
    for picture, result in zip(rgb.flatten(2).unbind(), lab.flatten(2).unbind(), strict=True):
        for pixels, chunk in zip(picture.split(_CHUNK, dim=1), result.split(_CHUNK, dim=1), strict=True):
            red, green, blue = linear_by_tables(pixels)
            for light, coefficients, white in zip(chunk, RGB_TO_YXZ, WHITE, strict=True):
                r, g, b = (coefficient * LIGHT_STEPS / white for coefficient in coefficients)
                torch.mul(red, r, out=light).add_(green, alpha=g).add_(blue, alpha=b)
            root, rest = cube_root_by_table_(chunk)
            for part in (root, rest):  # separately: the difference of large numbers would lose digits of the rest
                part[1:].sub_(part[0])
            torch.add(root, rest, alpha=REST_UNIT, out=chunk)
            chunk[0].mul_(116).sub_(16)
            chunk[1].mul_(500)
            chunk[2].mul_(-200)
    return lab


def linear_by_tables(srgb: Tensor) -> Tensor:
    """Invert the sRGB curve as `linear_of` does, for integers or fractions of any shape."""
    if not srgb.is_floating_point():
        return _lookup(_linear_table(srgb.dtype), srgb)
    start, rise = _linear_steps()
    steps = srgb.float() * _SRGB_STEPS
    whole = steps.to(torch.int32)
    return _lookup(rise, whole).mul_(steps.frac_()).add_(_lookup(start, whole))


def cube_root_by_table_(steps: Tensor) -> tuple[Tensor, Tensor]:
    """Apply Lab's curve as `cube_root_of` does, to light counted in steps of the table.

    Returns:
        The root at the beginning of the step, and the rest, in units of `REST_UNIT`: the fraction of the step over
        the square of the root, after the derivative of the cube root. The rest overwrites `steps`.
    """
    root = _lookup(_root_table(), steps)
    return root, steps.frac_().div_(root.clamp(min=6 / 29).square_())  # the line's slope is the root's at the knee


REST_UNIT = 1 / (3 * LIGHT_STEPS)


def _lookup(table: Tensor, place: Tensor) -> Tensor:
    """Return the table's entry at each place, [...], rounded down."""
    whole = torch.empty(place.shape, dtype=torch.int32).copy_(place)  # contiguous, which `to` would not make it
    return table.index_select(0, whole.flatten()).view(place.shape)


@cache
def _linear_table(dtype: torch.dtype) -> Tensor:
    """Return the inverse sRGB curve at every value of an integer type."""
    largest = torch.iinfo(dtype).max
    return linear_of(torch.arange(largest + 1, dtype=torch.float64) / largest).float()


@cache
def _linear_steps() -> tuple[Tensor, Tensor]:
    """Return the inverse sRGB curve at the beginning of each step, and its rise over the step."""
    curve = linear_of(_beginnings(_SRGB_STEPS))
    return curve[:-1].float(), curve.diff().float()


@cache
def _root_table() -> Tensor:
    """Return Lab's curve at the beginning of each step."""
    return cube_root_of(_beginnings(LIGHT_STEPS)).float()


def _beginnings(steps: float) -> Tensor:
    """Return the beginnings of the steps from 0 to 1.01, enlarged by 1e-12 so that a knee belongs to the next step."""
    return torch.arange(int(1.01 * steps), dtype=torch.float64) * (1 + 1e-12) / steps
