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
from functools import cache
from threading import Lock

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
    with _settings.exact(), torch.autocast(device.type, enabled=False):
        yield


class _Settings:
    """TF32 and the default type are the process's: the first thread that comes in changes them, the last back."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._before: tuple[bool, bool, torch.dtype]

    @contextmanager
    def exact(self) -> Iterator[None]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        with self._lock:
            if self._inside == 0:
                self._before = cudnn.allow_tf32, matmul.allow_tf32, torch.get_default_dtype()
                cudnn.allow_tf32 = matmul.allow_tf32 = False
                torch.set_default_dtype(torch.float32)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    cudnn.allow_tf32, matmul.allow_tf32, dtype = self._before
                    torch.set_default_dtype(dtype)


_settings = _Settings()


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split a picture into lightness and color.

    By kornia, or its formulas. On a CPU tables of its two curves take a quarter of its time. On a GPU kornia copies
    its constants there at each call, and a program waits for that until all before is done; its formulas need none.

    Args:
        rgb: [B, 3, H, W]; uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100, and ab: [B, 2, H, W] float32 in -128..127.

    Source: CIE 15 for Lab under D65, IEC 61966-2-1 for the sRGB curve.
    """
    with exact(rgb.device):
        if _tables_serve(rgb):
            lab = _rgb_to_lab_by_tables(rgb)
        elif rgb.is_cuda and not torch.compiler.is_compiling():
            lab = _rgb_to_lab_by_formulas(to_float(rgb))
        else:
            lab = _rgb_to_lab(to_float(rgb))
    return lab[:, :1], lab[:, 1:]


def to_float(rgb: Tensor) -> Tensor:
    """Return uint8, uint16 or floating-point colors as float32 in 0..1."""
    return rgb.float() if rgb.is_floating_point() else rgb.float() / torch.iinfo(rgb.dtype).max


def from_float(rgb: Tensor, dtype: torch.dtype) -> Tensor:
    """Return colors in 0..1 as `dtype`; as uint8 or uint16, they are rounded to the nearest level."""
    return rgb.to(dtype) if dtype.is_floating_point else (rgb * torch.iinfo(dtype).max).round_().to(dtype)


def has_color(ab: Tensor) -> Tensor:
    """Which pictures, ab [B, 2, H, W], are not gray: [B] bool."""
    return ab.abs().amax(dim=(1, 2, 3)) > GRAY_AB


def lightness_of(picture: Tensor) -> Tensor:
    """The L of pictures, without their ab: quicker than `rgb_to_lab`.

    Args:
        picture: [B, 1 or 3, H, W], gray or RGB; uint8, uint16, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100.
    """
    with exact(picture.device):
        by_tables = _tables_serve(picture)
        linear = _linear_by_tables(picture) if by_tables else _linear(to_float(picture))
        if linear.shape[1] == 3:
            red, green, blue = (share * linear[:, place] for place, share in enumerate(_LUMINANCE))
            linear = (red + green + blue)[:, None]
        if not by_tables:
            return _cube_root(linear).mul_(116).sub_(16)
        root, beyond = _cube_root_by_table_(linear.mul_(_STEPS_OF_LIGHT))
        return root.add_(beyond, alpha=_PER_BEYOND).mul_(116).sub_(16)


_LUMINANCE = (0.212671, 0.715160, 0.072169)
_RGB_TO_YXZ = (_LUMINANCE, (0.412453, 0.357580, 0.180423), (0.019334, 0.119193, 0.950227))
_WHITE = (1.0, 0.95047, 1.08883)
"""Linear sRGB to CIE Y, X and Z, and the Y, X and Z of white under D65, as kornia has them."""

_SRGB_KNEE, _LIGHT_KNEE = 0.04045, 0.008856
"""Where the sRGB curve, and that of Lab, go over from a line to a power."""


def _linear(srgb: Tensor) -> Tensor:
    """Undo the sRGB curve, of any shape."""
    line, power = srgb / 12.92, ((srgb.clamp(min=_SRGB_KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb > _SRGB_KNEE, power, line)


def _cube_root(light: Tensor) -> Tensor:
    """What Lab makes of light, of any shape."""
    line, power = 7.787 * light + 4 / 29, light.clamp(min=_LIGHT_KNEE) ** (1 / 3)
    return torch.where(light > _LIGHT_KNEE, power, line)


def _rgb_to_lab_by_formulas(rgb: Tensor) -> Tensor:
    """rgb [B, 3, H, W] float32 → lab [B, 3, H, W] float32, without a constant that lies on a device."""
    red, green, blue = _linear(rgb).unbind(dim=1)
    y, x, z = (
        _cube_root((red * (r / white)).add_(green, alpha=g / white).add_(blue, alpha=b / white))
        for (r, g, b), white in zip(_RGB_TO_YXZ, _WHITE, strict=True)
    )
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


# -- by tables, for a CPU ----------------------------------------------------------------------------

_PART = 65536
"""How many pixels are converted at a time, so that what lies between the steps stays in the cache."""

_STEPS_OF_SRGB, _STEPS_OF_LIGHT = 2650 / _SRGB_KNEE, 1160 / _LIGHT_KNEE
"""Steps of the tables from 0 to 1. The knees, where the curves bend or jump, lie at the ends of steps."""

_REACH = 1.001
"""How far the tables go: what is a little above 1 was rounded."""


def _tables_serve(picture: Tensor) -> bool:
    """Whether the tables will do; on a GPU, for a gradient, and for what lies outside 0..1 it takes the formulas."""
    if picture.device.type != "cpu" or torch.compiler.is_compiling() or not picture.numel():
        return False
    if not picture.is_floating_point():
        return True
    low, high = picture.detach().aminmax()
    return bool(low >= 0 and high <= _REACH) and not (picture.requires_grad and torch.is_grad_enabled())


def _rgb_to_lab_by_tables(rgb: Tensor) -> Tensor:
    """rgb [B, 3, H, W], whole numbers or floating point → lab [B, 3, H, W] float32."""
    lab = torch.empty(rgb.shape)
    for picture, result in zip(rgb.flatten(2).unbind(), lab.flatten(2).unbind(), strict=True):
        for pixels, part in zip(picture.split(_PART, dim=1), result.split(_PART, dim=1), strict=True):
            red, green, blue = _linear_by_tables(pixels)
            for light, shares, white in zip(part, _RGB_TO_YXZ, _WHITE, strict=True):
                r, g, b = (share * _STEPS_OF_LIGHT / white for share in shares)
                torch.mul(red, r, out=light).add_(green, alpha=g).add_(blue, alpha=b)
            root, beyond = _cube_root_by_table_(part)
            for one in (root, beyond):  # apart: a difference of large numbers would lose what is beyond
                one[1:].sub_(one[0])
            torch.add(root, beyond, alpha=_PER_BEYOND, out=part)
            part[0].mul_(116).sub_(16)
            part[1].mul_(500)
            part[2].mul_(-200)
    return lab


def _linear_by_tables(srgb: Tensor) -> Tensor:
    """As `_linear`; of whole numbers by a table of all there are, of others along straight steps."""
    if not srgb.is_floating_point():
        return _entries(_linear_of_all(srgb.dtype), srgb)
    start, rise = _linear_steps()
    steps = srgb.float() * _STEPS_OF_SRGB
    whole = steps.to(torch.int32)
    return _entries(rise, whole).mul_(steps.frac_()).add_(_entries(start, whole))


def _cube_root_by_table_(steps: Tensor) -> tuple[Tensor, Tensor]:
    """As `_cube_root`, of light counted in steps of its table.

    Returns:
        The root at the step's beginning, and what is beyond it, in units of `_PER_BEYOND`: a third of
        the way into the step over the square of the root, as its derivative is. It takes the place of `steps`.
    """
    root = _entries(_roots(), steps)
    return root, steps.frac_().div_(root.clamp(min=6 / 29).square_())  # the line is as steep as the root at its end


_PER_BEYOND = 1 / (3 * _STEPS_OF_LIGHT)


def _entries(table: Tensor, place: Tensor) -> Tensor:
    """What a table has at each place, [...], rounded down."""
    whole = torch.empty(place.shape, dtype=torch.int32).copy_(place)  # `to` would keep the order in memory
    return table.index_select(0, whole.flatten()).view(place.shape)


@cache
def _linear_of_all(dtype: torch.dtype) -> Tensor:
    whole = torch.iinfo(dtype).max
    return _linear(torch.arange(whole + 1, dtype=torch.float64) / whole).float()


@cache
def _linear_steps() -> tuple[Tensor, Tensor]:
    """The sRGB curve at the beginning of each step, and its rise in it."""
    curve = _linear(_beginnings(_STEPS_OF_SRGB))
    return curve[:-1].float(), curve.diff().float()


@cache
def _roots() -> Tensor:
    """The curve of Lab at the beginning of each step."""
    return _cube_root(_beginnings(_STEPS_OF_LIGHT)).float()


def _beginnings(steps: float) -> Tensor:
    """Of each of so many steps from 0 to 1 and a little further, and a hair inside: a knee belongs to what follows."""
    return torch.arange(int(1.01 * steps), dtype=torch.float64) * (1 + 1e-12) / steps


# -- back --------------------------------------------------------------------------------------------


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
