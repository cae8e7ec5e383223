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

    By kornia; but on a CPU, where it takes three times as long for bytes, by its formulas worked
    through in place, and by a table of the bytes.

    Args:
        rgb: [B, 3, H, W]; uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: [B, 1, H, W] float32 in 0..100, and ab: [B, 2, H, W] float32 in -128..127.

    Source: CIE 15 for Lab under D65, IEC 61966-2-1 for the sRGB curve.
    """
    with exact(rgb.device):
        if rgb.device.type == "cpu" and not torch.compiler.is_compiling():
            lab = _rgb_to_lab_on_cpu(rgb)
        else:
            lab = _rgb_to_lab(rgb.float() / 255 if rgb.dtype == torch.uint8 else rgb.float())
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
        return _cube_root_(linear).mul_(116).sub_(16)


# -- in place, for a CPU -----------------------------------------------------------------------------

_LUMINANCE = (0.212671, 0.715160, 0.072169)
_RGB_TO_YXZ = (_LUMINANCE, (0.412453, 0.357580, 0.180423), (0.019334, 0.119193, 0.950227))
_WHITE = (1.0, 0.95047, 1.08883)
"""Linear sRGB to CIE Y, X and Z, and the Y, X and Z of white under D65, as kornia has them."""

_PART = 65536
"""How many pixels are converted at a time, so that what lies between the steps stays in the cache."""


def _rgb_to_lab_on_cpu(rgb: Tensor) -> Tensor:
    """rgb [B, 3, H, W], uint8 or floating point → lab [B, 3, H, W] float32."""
    lab = torch.empty(rgb.shape)
    for picture, result in zip(rgb.flatten(2).unbind(), lab.flatten(2).unbind(), strict=True):
        for pixels, part in zip(picture.split(_PART, dim=1), result.split(_PART, dim=1), strict=True):
            red, green, blue = _linear(pixels)
            y, x, z = part  # where y becomes L, x a and z b
            for light, (r, g, b), white in zip((y, x, z), _RGB_TO_YXZ, _WHITE, strict=True):
                torch.mul(red, r / white, out=light).add_(green, alpha=g / white).add_(blue, alpha=b / white)
            _cube_root_(part)
            x.sub_(y).mul_(500)
            z.sub_(y).mul_(-200)
            y.mul_(116).sub_(16)
    return lab


def _linear(srgb: Tensor) -> Tensor:
    """Undo the sRGB curve, of any shape; by a table of all values there are, where these are whole numbers.

    Below the knee the power stands still and the line falls short of its end by what is missing: no branch.
    """
    if not srgb.is_floating_point():
        whole = torch.iinfo(srgb.dtype).max
        table = _linear(torch.arange(whole + 1, device=srgb.device) / whole)
        return table.index_select(0, srgb.flatten().to(torch.int32)).view(srgb.shape)
    srgb, knee = srgb.float(), 0.04045
    at_knee = ((knee + 0.055) / 1.055) ** 2.4
    return ((srgb.clamp(min=knee) + 0.055) / 1.055) ** 2.4 + (srgb / 12.92 - at_knee).clamp(max=0)


def _cube_root_(light: Tensor) -> Tensor:
    """In place: what Lab makes of light, the cube root; below its knee a line, as in `_linear`."""
    knee = 0.008856
    line = (7.787 * light).add_(4 / 29 - knee ** (1 / 3)).clamp_(max=0)
    return light.clamp_(min=knee).pow_(1 / 3).add_(line)


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
