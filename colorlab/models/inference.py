"""Inference on pictures of any size: the network predicts ab at a small size, the picture keeps its own L.

    pixels: [B, 1 or 3, H, W], uint8, uint16, or floating point in 0..1: pictures at full size
    L, ab:  [B, 1 or 2, h, w] float32: input and output of the network

Full-size pictures are processed in strips of rows, so that little memory is needed besides the picture
and its result.
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

from colorlab.color import AB_MAX, from_float, lab_to_rgb, lightness_of, to_float
from colorlab.errors import UserError
from colorlab.images.pixels import array_of, upper_8_bits

if TYPE_CHECKING:
    from colorlab.models.network import ColorNetwork

MIN_SIDE = 16
"""Minimum of both sides of the network's input, in pixels."""

MAX_ASPECT = 4
"""Maximum of the long side of the network's input, in short sides: the short side of a panorama is reduced."""

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)

Check = Callable[[], object]
"""Called before each strip of a picture; what it raises ends the work."""


def colorize(
    model: "ColorNetwork",
    image: Picture,
    *,
    size: int | None = None,
    guided: bool = False,
    saturation: float = 1.0,
    temperature: float | None = None,
    check: Check | None = None,
) -> Picture:
    """Color a picture of any size; its L is kept at full resolution.

    Args:
        model: a network, on any device; the result is on the picture's device.
        image: in sRGB. A PIL image; a NumPy array [H, W], [H, W, 1] or [H, W, 3]; or a tensor
            [1 or 3, H, W] or [B, 1 or 3, H, W]. Arrays and tensors are uint8, uint16, or floating
            point in 0..1. The colors of a picture in color are ignored.
        size: short side of the network's input in pixels; None for the model's own, usually 256. The aspect ratio is
            kept, unless the model takes squares.
        guided: upsample ab along the edges of L instead of bilinearly: color bleeds less.
        saturation: factor of ab; 0 leaves the picture gray.
        temperature: for decoding bins; None for the model's own.
        check: called before each strip of the picture; what it raises ends the work.

    Returns:
        The same type: PIL in RGB or RGBA (PIL has no 16-bit color, so 16-bit gray becomes 8-bit),
        an array [H, W, 3] or a tensor with three channels, of the same dtype.

    Raises:
        UserError: the picture is of another kind, or an argument cannot be used with this model.
    """
    check_options(model, size, saturation, temperature)
    pixels, like_image = pixels_of(image)
    lightness = input_of(model, pixels, size, check)
    ab = predict(model, lightness, saturation, temperature)
    return like_image(apply_color(pixels, lightness, ab, guided, check))


def check_options(model: "ColorNetwork", size: int | None, saturation: float, temperature: float | None) -> None:
    """Raise UserError if an argument of `colorize` is invalid, or does not apply to the model."""
    if size is not None and size < MIN_SIDE:
        raise UserError(f"size={size} must be at least {MIN_SIDE}.")
    if not 0 <= saturation < math.inf:
        raise UserError(f"saturation={saturation:g} must be 0 or more.")
    if temperature is not None and not model.predicts_bins:
        raise UserError(f"temperature is for models with bins of color, and this {model.title} has none.")
    if temperature is not None and not 0 < temperature < math.inf:
        raise UserError(f"temperature={temperature:g} must be above 0.")


# -- types of pictures -------------------------------------------------------------------------------


def pixels_of(image: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Return the pixels of a picture, and a function that converts colored pixels to the picture's type.

    Raises:
        UserError: the picture is of a kind that `colorize` does not take.
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
            raise UserError(f"An array of shape {image.shape} is not a picture: use [H, W], [H, W, 1] or [H, W, 3].")
        if image.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
            raise UserError(f"A picture of {image.dtype} has no known range: use uint8, uint16, or 0..1 in float.")
        # torch takes no negative strides, and warns about read-only arrays.
        writable = image if image.flags.writeable and min(image.strides) > 0 else image.copy()
        pixels = torch.from_numpy(writable[..., None] if image.ndim == 2 else writable).permute(2, 0, 1)[None]
        return _checked(pixels), lambda colored: colored[0].permute(1, 2, 0).numpy()
    if isinstance(image, Tensor):
        if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3):
            raise UserError(f"A tensor of shape {tuple(image.shape)} is not a picture: use [1 or 3, H, W].")
        if image.dtype not in (torch.uint8, torch.uint16) and not image.is_floating_point():
            raise UserError(f"A picture of {image.dtype} has no known range: use uint8, uint16, or 0..1 in float.")
        pixels = image[None] if image.ndim == 3 else image
        return _checked(pixels.detach()), lambda colored: colored.reshape(*image.shape[:-3], *colored.shape[-3:])
    raise UserError(f"A {type(image).__name__} is not a picture: use a PIL image, a NumPy array or a tensor.")


def _checked(pixels: Tensor) -> Tensor:
    if not pixels.numel():
        raise UserError(f"A picture of {pixels.shape[-1]}×{pixels.shape[-2]} pixels has nothing to color.")
    if pixels.is_floating_point() and not (pixels.min() >= 0 and pixels.max() <= 1):  # `not …`, so that NaN fails
        raise UserError("A picture in floating point must lie in 0..1.")
    return pixels


def _pil_of(colored: Tensor, alpha: np.ndarray | None, info: dict[Any, Any]) -> Image.Image:
    picture = Image.fromarray(upper_8_bits(colored[0].permute(1, 2, 0).numpy()))
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    picture.info = {key: value for key, value in info.items() if key != "transparency"}
    return picture


# -- at the network's size -------------------------------------------------------------------------------------------


def input_of(model: "ColorNetwork", pixels: Tensor, size: int | None = None, check: Check | None = None) -> Tensor:
    """Return L [B, 1, h, w] of pictures, resized for a model, on its device.

    Args:
        model: the model that will color them.
        pixels: [B, 1 or 3, H, W].
        size: the short side in pixels; None for the model's own.
        check: called before each strip.
    """
    size = model.input_size if size is None else size
    return network_input(pixels, size, next(model.parameters()).device, model.square_input, check)


def network_size(height: int, width: int, size: int, square: bool = False) -> tuple[int, int]:
    """Return height and width of the network's input for a picture, given the short side."""
    if square:
        return size, size
    scale = min(size / min(height, width), MAX_ASPECT * size / max(height, width))
    return max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))


def network_input(
    pixels: Tensor, size: int, device: torch.device, square: bool = False, check: Check | None = None
) -> Tensor:
    """Return L [B, 1, h, w] of pictures, resized to a short side or to a square, on the device.

    Equals `F.interpolate(…, mode="bilinear", antialias=True)`, but processes a strip at a time.
    """
    height, width = pixels.shape[-2:]
    return lightness_of(_shrink(pixels, network_size(height, width, size, square), device, check).clamp(0, 1))


def _shrink(pixels: Tensor, size: tuple[int, int], device: torch.device, check: Check | None) -> Tensor:
    """Resize pictures [B, C, H, W] to height and width; returns float32."""
    batch, channels, full_height, full_width = pixels.shape
    height, width = size
    if _is_wide(pixels):
        return _shrink(pixels.mT, (width, height), device, check).mT
    scale = full_height / height
    support = max(scale, 1)
    columns = full_width if full_width < MIN_SIDE else width  # a thin picture, maybe very high, is widened at the end
    center = (torch.arange(height, dtype=torch.float64) + 0.5) * scale
    total = torch.zeros(height, 1, device=device)
    resized = torch.zeros(batch, channels, height, columns, device=device)
    most_rows = max(256, int(16 * scale))  # each sees a few rows of the result only
    for rows, strip in strips(pixels, device, check, most_rows):
        strip = to_float(strip)
        narrow = strip
        if columns != full_width:
            narrow = F.interpolate(strip, (len(rows), columns), mode="bilinear", antialias=True)
        first = max(0, math.floor((rows.start - support) / scale - 0.5))  # only these rows of the result see the strip
        last = math.ceil((rows.stop + support) / scale + 0.5)
        row = torch.arange(len(rows), device=device) + 0.5
        distance = row - (center[first:last, None] - rows.start).float().to(device)
        weight = (1 - distance.abs() / support).clamp(min=0)  # [rows of the result, rows]
        total[first:last] += weight.sum(dim=1, keepdim=True)
        resized[..., first:last, :] += weight @ narrow
    return F.interpolate(resized / total, size, mode="bilinear", antialias=True)


@torch.no_grad()
def predict(
    model: "ColorNetwork", lightness: Tensor, saturation: float = 1.0, temperature: float | None = None
) -> Tensor:
    """Predict ab with the model in evaluation mode: L [B, 1, h, w] → [B, 2, h, w] float32."""
    was_training = model.training
    model.eval()
    try:
        # On a CPU, a batch exceeds the cache and takes up to twice as long per picture.
        at_once = 1 if lightness.device.type == "cpu" else len(lightness)
        parts = [
            model.decode(model.raw_output(part), part.shape[-2:], temperature) for part in lightness.split(at_once)
        ]
    finally:
        model.train(was_training)
    return torch.cat(parts).float() * saturation


# -- at full size -------------------------------------------------------------------------------------------

STRIP = 2**18
"""Pixels of a strip on a CPU: it fits into the cache."""

STRIP_ON_DEVICE = 2**22
"""Pixels of a strip on a GPU."""

RADIUS, EPSILON = 2, 64.0
"""Of the guided filter, in pixels of the network's input and squared units of L. A little softer than the best values
in tests on photographs whose true ab was downsampled by four and blurred."""


def apply_color(
    pixels: Tensor, lightness: Tensor, ab: Tensor, guided: bool = False, check: Check | None = None
) -> Tensor:
    """Return pictures with their own L and with ab upsampled to full size.

    Args:
        pixels: [B, 1 or 3, H, W].
        lightness, ab: input and output of the network, [B, 1 and 2, h, w].
        guided: upsample ab along the edges of L instead of bilinearly.
        check: called before each strip.

    Returns:
        [B, 3, H, W], with the dtype and the device of `pixels`.
    """
    batch, _, height, width = pixels.shape
    maps = torch.cat([ab, _slope(lightness, ab), lightness], dim=1) if guided else ab
    colored = torch.empty(batch, height, width, 3, dtype=pixels.dtype, device=pixels.device).permute(0, 3, 1, 2)
    if _is_wide(pixels):
        _color_strips(pixels.mT, maps.mT, colored.mT, check)
    else:
        _color_strips(pixels, maps, colored, check)
    return colored


def _color_strips(pixels: Tensor, maps: Tensor, colored: Tensor, check: Check | None) -> None:
    """Write pictures [B, 1 or 3, H, W] into `colored`, colored by ab, or by ab, its slope over L, and L."""
    height, width = pixels.shape[-2:]
    if width < maps.shape[-1]:
        maps = F.interpolate(maps, (maps.shape[-2], width), mode="bilinear", align_corners=False)
    for rows, strip in strips(pixels, maps.device, check):
        own = lightness_of(strip)
        color = _upsample(maps, rows, (height, width))
        if color.shape[1] > 2:
            color, slope, blurred = color.split((2, 2, 1), dim=1)
            color = (color + slope * (own - blurred)).clamp(-AB_MAX, AB_MAX)
        rgb = from_float(lab_to_rgb(own, color, keep_L=True), pixels.dtype)
        colored[..., rows.start : rows.stop, :] = rgb.to(pixels.device)


def _is_wide(pixels: Tensor) -> bool:
    """Return whether one row exceeds a strip, so that the picture is processed by columns."""
    return pixels.shape[-1] > max(STRIP, pixels.shape[-2])


def strips(
    pixels: Tensor, device: torch.device, check: Check | None = None, most_rows: int = STRIP_ON_DEVICE
) -> Iterator[tuple[range, Tensor]]:
    """Yield pictures in strips: the range of rows, and [B, C, rows, W] on the device; call `check` before each."""
    batch, _, height, width = pixels.shape
    most = STRIP if device.type == "cpu" else STRIP_ON_DEVICE
    step = min(most_rows, max(1, most // (batch * width)))
    for top in range(0, height, step):
        if check is not None:
            check()
        strip = pixels[..., top : top + step, :].to(device)
        yield range(top, top + strip.shape[-2]), strip


def _upsample(small: Tensor, rows: range, size: tuple[int, int]) -> Tensor:
    """Return a range of rows of `F.interpolate(small, size, mode="bilinear", align_corners=False)`."""
    height, width = size
    last = small.shape[-2] - 1
    place = (torch.arange(rows.start, rows.stop, device=small.device) + 0.5) * (small.shape[-2] / height) - 0.5
    above = place.clamp(0, last).floor().long()
    share = (place.clamp(0, last) - above)[:, None]
    tall = torch.lerp(small[..., above, :], small[..., (above + 1).clamp(max=last), :], share)
    return F.interpolate(tall, (len(rows), width), mode="bilinear", align_corners=False)


def _slope(lightness: Tensor, ab: Tensor) -> Tensor:
    """Return the slope of ab over L around each pixel, as the fast guided filter with guide L estimates it.

    Multiplied by the detail of L that downsampling has lost, it gives the lost detail of ab. The filter's full
    result also averages ab around each pixel, which loses more color than its edges gain.

    Returns:
        [B, 2, h, w].

    Source: He and Sun, "Fast Guided Filter", 2015, algorithm 2; He et al., TPAMI 2013, equation 5.
    """

    def mean(values: Tensor) -> Tensor:
        return box_blur(values, 2 * RADIUS + 1, border_type="replicate", separable=True)

    mean_l = mean(lightness)
    variance = mean(lightness * lightness) - mean_l * mean_l
    return mean((mean(lightness * ab) - mean_l * mean(ab)) / (variance + EPSILON))
