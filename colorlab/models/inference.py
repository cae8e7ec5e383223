"""One picture of any size: what the network is shown of it, and the join of its own L with the ab it gets.

    pixels: [B, 1 or 3, H, W], uint8, uint16, or floating point in 0..1: a picture at its own size
    L, ab:  [B, 1 or 2, h, w] float32: what the network is shown, and what it answers

Work at the picture's own size is done in strips of rows, so that it needs little memory beside the
picture and its result, however large they are.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import box_blur
from PIL import Image
from torch import Tensor

from colorlab.color import AB_MAX, lab_to_rgb, lightness_of
from colorlab.errors import UserError
from colorlab.images.pixels import array_of

if TYPE_CHECKING:
    from colorlab.models.network import ColorNetwork

SIZE = 256
"""The short side of what the network is shown, in pixels: what it is trained on, as a rule."""

SMALLEST = 16
"""No side of what the network is shown is shorter."""

LONGEST = 4
"""Nor longer than this many times the short one asked for: a panorama is shown smaller."""

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)


def colorize(
    model: "ColorNetwork",
    image: Picture,
    *,
    size: int = SIZE,
    guided: bool = False,
    saturation: float = 1.0,
    temperature: float | None = None,
) -> Picture:
    """Color a picture of any size; its own L stays as it is, at full resolution.

    Args:
        model: who colors, on whichever device it is; the result is where the picture was.
        image: in sRGB. A PIL image; a NumPy array [H, W], [H, W, 1] or [H, W, 3]; or a tensor
            [1 or 3, H, W] or [B, 1 or 3, H, W]. Arrays and tensors are uint8, uint16, or floating
            point in 0..1. Of a picture in color, the L is taken.
        size: the short side of what the network is shown, in pixels; the aspect is kept.
        guided: let ab follow the edges of L, in place of enlarging it bilinearly: bleeds less.
        saturation: factor of ab; 0 leaves the picture gray.
        temperature: at which a model with bins decodes them; None for its own.

    Returns:
        The same kind: PIL in RGB or RGBA (PIL has no 16-bit color, so 16-bit gray becomes 8-bit),
        an array [H, W, 3] or a tensor with three channels, of the dtype it had.

    Raises:
        UserError: the picture is of no such kind, or an argument cannot be used with this model.
    """
    check(model, size, saturation, temperature)
    pixels, like_image = pixels_of(image)
    device = next(model.parameters()).device
    lightness = shrink(pixels, size, device)
    ab = predict(model, lightness, saturation, temperature)
    return like_image(join(pixels, lightness, ab, guided))


def check(model: "ColorNetwork", size: int, saturation: float, temperature: float | None) -> None:
    """See that the arguments of `colorize` make sense for the model.

    Raises:
        UserError: one does not.
    """
    if size < SMALLEST:
        raise UserError(f"size={size} must be at least {SMALLEST}.")
    if not 0 <= saturation < math.inf:
        raise UserError(f"saturation={saturation:g} must be 0 or more.")
    if temperature is not None and not model.predicts_bins:
        raise UserError(f"temperature is for models with bins of color, and this {model.title} has none.")
    if temperature is not None and not 0 < temperature < math.inf:
        raise UserError(f"temperature={temperature:g} must be above 0.")


# -- kinds of pictures -------------------------------------------------------------------------------


def pixels_of(image: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """A picture's pixels, and the way back from colored pixels to the picture's kind.

    Raises:
        UserError: it is of no kind that `colorize` takes.
    """
    if isinstance(image, Image.Image):
        try:
            array, alpha = array_of(image)
        except ValueError as error:
            raise UserError(f"A PIL image cannot be colored: {error}. Use an array in 0..1.") from error
        pixels, _ = pixels_of(array)
        return pixels, lambda colored: _pil_of(colored, alpha, image.info)
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
            raise UserError(f"An array of shape {image.shape} is no picture: [H, W], [H, W, 1] or [H, W, 3] is.")
        if image.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
            raise UserError(f"A picture of {image.dtype} has no known range: use uint8, uint16, or 0..1 in float.")
        writable = image if image.flags.writeable and min(image.strides) > 0 else image.copy()  # else torch complains
        pixels = torch.from_numpy(writable[..., None] if image.ndim == 2 else writable).permute(2, 0, 1)[None]
        return _checked(pixels), lambda colored: colored[0].permute(1, 2, 0).numpy()
    if isinstance(image, Tensor):
        if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3):
            raise UserError(f"A tensor of shape {tuple(image.shape)} is no picture: [1 or 3, H, W] is.")
        if image.dtype not in (torch.uint8, torch.uint16) and not image.is_floating_point():
            raise UserError(f"A picture of {image.dtype} has no known range: use uint8, uint16, or 0..1 in float.")
        pixels = image[None] if image.ndim == 3 else image
        return _checked(pixels.detach()), lambda colored: colored.reshape(*image.shape[:-3], *colored.shape[-3:])
    raise UserError(f"A {type(image).__name__} is no picture: use a PIL image, a NumPy array or a tensor.")


def _checked(pixels: Tensor) -> Tensor:
    if not pixels.numel():
        raise UserError(f"A picture of {pixels.shape[-1]}×{pixels.shape[-2]} pixels has nothing to color.")
    if pixels.is_floating_point() and not (pixels.min() >= 0 and pixels.max() <= 1):  # not: for the sake of NaN
        raise UserError("A picture in floating point must lie in 0..1.")
    return pixels


def _pil_of(colored: Tensor, alpha: np.ndarray | None, info: dict[Any, Any]) -> Image.Image:
    if colored.dtype == torch.uint16:
        colored = (colored.int() >> 8).to(torch.uint8)
    picture = Image.fromarray(colored[0].permute(1, 2, 0).numpy())
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    picture.info = {key: value for key, value in info.items() if key != "transparency"}
    return picture


# -- small -------------------------------------------------------------------------------------------


def shown_size(height: int, width: int, size: int) -> tuple[int, int]:
    """The height and width at which the network is shown a picture: `size` is that of the short side."""
    scale = min(size / min(height, width), LONGEST * size / max(height, width))
    return max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale))


def shrink(pixels: Tensor, size: int, device: torch.device) -> Tensor:
    """What the network is shown of pictures: their L, resized with a triangle filter, on the device.

    As `F.interpolate(…, mode="bilinear", antialias=True)` does it, a strip at a time.
    """
    batch, channels, full_height, full_width = pixels.shape
    height, width = shown_size(full_height, full_width, size)
    scale = full_height / height
    center = (torch.arange(height, device=device)[:, None] + 0.5) * scale
    total = torch.zeros(height, 1, device=device)
    shown = torch.zeros(batch, channels, height, width, device=device)
    for rows, strip in strips(pixels, device):
        strip = _scaled(strip)
        narrow = F.interpolate(strip, (strip.shape[-2], width), mode="bilinear", antialias=True)
        row = torch.arange(rows.start, rows.stop, device=device) + 0.5
        weight = (1 - (row - center).abs() / max(scale, 1)).clamp(min=0)  # [height, rows]
        total += weight.sum(dim=1, keepdim=True)
        shown += weight @ narrow
    return lightness_of((shown / total).clamp(0, 1))


@torch.no_grad()
def predict(
    model: "ColorNetwork", lightness: Tensor, saturation: float = 1.0, temperature: float | None = None
) -> Tensor:
    """The ab that the model gives pictures: L [B, 1, h, w] → [B, 2, h, w] float32."""
    was_training = model.training
    model.eval()
    try:
        # Several leave a CPU's cache, and take up to twice as long there.
        at_once = 1 if lightness.device.type == "cpu" else len(lightness)
        parts = [
            model.decode(model.raw_output(part), part.shape[-2:], temperature) for part in lightness.split(at_once)
        ]
    finally:
        model.train(was_training)
    return torch.cat(parts).float() * saturation


# -- large -------------------------------------------------------------------------------------------

STRIP = 2**18
"""Pixels worked on at a time at the picture's own size: what a CPU's cache holds."""

STRIP_ON_DEVICE = 2**22
"""The same on a GPU."""

RADIUS, EPSILON = 2, 64.0
"""Of the guided filter: pixels of what the network was shown, and squared units of L. Our choice, a little softer than
the best of those tried on photographs whose true ab was shrunk four times and blurred."""


def join(pixels: Tensor, lightness: Tensor, ab: Tensor, guided: bool = False) -> Tensor:
    """Join the pictures' own L with the ab they got, at their own size.

    Args:
        pixels: [B, 1 or 3, H, W].
        lightness, ab: what the network was shown and what it answered, [B, 1 and 2, h, w].
        guided: let ab follow the edges of L.

    Returns:
        [B, 3, H, W], with the dtype and the device of `pixels`.
    """
    batch, _, height, width = pixels.shape
    maps = torch.cat([ab, _slope(lightness, ab), lightness], dim=1) if guided else ab
    colored = torch.empty(batch, height, width, 3, dtype=pixels.dtype, device=pixels.device).permute(0, 3, 1, 2)
    for rows, strip in strips(pixels, ab.device):
        own = lightness_of(strip)
        color = _enlarge(maps, rows, (height, width))
        if guided:
            color, slope, blurred = color.split((2, 2, 1), dim=1)
            color = (color + slope * (own - blurred)).clamp(-AB_MAX, AB_MAX)
        colored[..., rows.start : rows.stop, :] = _rounded(lab_to_rgb(own, color, keep_L=True), pixels.dtype).to(
            pixels.device
        )
    return colored


def strips(pixels: Tensor, device: torch.device) -> Iterator[tuple[range, Tensor]]:
    """The rows of pictures, a few at a time: which rows, and [B, C, rows, W] on the device."""
    batch, _, height, width = pixels.shape
    most = STRIP if device.type == "cpu" else STRIP_ON_DEVICE
    step = max(1, most // (batch * width))
    for top in range(0, height, step):
        strip = pixels[..., top : top + step, :].to(device)
        yield range(top, top + strip.shape[-2]), strip


def _scaled(pixels: Tensor) -> Tensor:
    """Whatever the dtype, float32 in 0..1."""
    return pixels.float() if pixels.is_floating_point() else pixels.float() / torch.iinfo(pixels.dtype).max


def _rounded(rgb: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return rgb.to(dtype)
    return (rgb * torch.iinfo(dtype).max).round_().to(dtype)


def _enlarge(small: Tensor, rows: range, size: tuple[int, int]) -> Tensor:
    """Rows of what `F.interpolate(small, size, mode="bilinear", align_corners=False)` gives."""
    height, width = size
    last = small.shape[-2] - 1
    place = (torch.arange(rows.start, rows.stop, device=small.device) + 0.5) * (small.shape[-2] / height) - 0.5
    above = place.clamp(0, last).floor().long()
    share = (place.clamp(0, last) - above)[:, None]
    tall = torch.lerp(small[..., above, :], small[..., (above + 1).clamp(max=last), :], share)
    return F.interpolate(tall, (len(rows), width), mode="bilinear", align_corners=False)


def _slope(lightness: Tensor, ab: Tensor) -> Tensor:
    """How ab changes with L around each pixel: the slope of the fast guided filter whose guide is L.

    Times what enlarging has blurred away of L, it is what enlarging has blurred away of ab. The filter's own
    result is a mean of ab around each pixel as well, which costs more color than its edges bring.

    Returns:
        [B, 2, h, w].

    Source: He and Sun, "Fast Guided Filter", 2015, algorithm 2; He et al., TPAMI 2013, equation 5.
    """

    def mean(values: Tensor) -> Tensor:
        return box_blur(values, 2 * RADIUS + 1, border_type="replicate", separable=True)

    mean_l = mean(lightness)
    variance = mean(lightness * lightness) - mean_l * mean_l
    return mean((mean(lightness * ab) - mean_l * mean(ab)) / (variance + EPSILON))
