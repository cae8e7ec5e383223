"""Pixels as NumPy arrays: from Pillow, between 8 and 16 bits, upright, over white."""

import numpy as np
from PIL import Image, TiffImagePlugin
from tifffile import PHOTOMETRIC

from colorlab.images.profiles import space_of


def array_of(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the pixels of a PIL image, and its alpha if it has one.

    Returns:
        Pixels [H, W] or [H, W, 3], uint8 or uint16; alpha [H, W] uint8.

    Raises:
        ValueError: the pixels are floating point or exceed 16 bits, so that it is unknown which value is white.
    """
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no known white")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _deep_gray(picture), None
    mode = "L" if _is_gray(picture) else "RGB"
    if not picture.has_transparency_data:
        return np.array(picture.convert(mode)), None
    with_alpha = picture.convert(f"{mode}A")
    return np.array(with_alpha.convert(mode)), np.array(with_alpha.getchannel("A"))


def _deep_gray(picture: Image.Image) -> np.ndarray:
    """Return gray of more than 8 bits as uint16 with white at 65535; Pillow returns a TIFF's values as stored."""
    values, tags = np.asarray(picture), getattr(picture, "tag_v2", {})
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError("gray beyond 16 bits has no known white")
    values = values.astype(np.uint16)
    if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
        values = values << 4 | values >> 8
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == PHOTOMETRIC.MINISWHITE:
        values = ~values
    return values


def _is_gray(picture: Image.Image) -> bool:
    """Return whether a picture is stored as gray, or has a palette with a gray ICC profile."""
    if picture.mode in ("P", "PA"):
        return space_of(picture.info.get("icc_profile"), channels=1) is not None
    return picture.mode in ("1", "L", "LA", "La")


def split_alpha(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split [H, W] or [H, W, 1 to 4] into colors, [H, W] or [H, W, 3], and alpha: the last of 2 or 4 channels."""
    if array.ndim == 2 or array.shape[2] == 3:
        return array, None
    colors = array[..., :-1]
    return colors[..., 0] if colors.shape[2] == 1 else colors, array[..., -1]


def upper_8_bits(values: np.ndarray) -> np.ndarray:
    """Return uint16 values as uint8 without their lower 8 bits, as libpng and Pillow read them; uint8 unchanged."""
    return (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values


def to_depth(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Scale uint8 or uint16 values to the other type, rounded to the nearest."""
    if values.dtype == dtype:
        return values
    return values.astype(np.uint16) * 257 if dtype == np.uint16 else ((values + np.uint32(128)) // 257).astype(np.uint8)


def over_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Composite a picture over white.

    Args:
        pixels: [H, W] or [H, W, 3] uint8.
        alpha: [H, W] uint8; None is opaque.

    Returns:
        [H, W, 3] uint8.
    """
    rgb = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    if alpha is None:
        return rgb
    picture = Image.fromarray(rgb)
    return np.array(Image.composite(picture, Image.new("RGB", picture.size, "white"), Image.fromarray(alpha)))


_TURNS = {
    2: (False, True, False), 3: (True, True, False), 4: (True, False, False), 5: (False, False, True),
    6: (True, False, True), 7: (True, True, True), 8: (False, True, True),
}  # fmt: skip
"""By EXIF orientation, what turns a picture upright: whether rows and columns are reversed, then transposed."""


def turn_upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn [H, W] or [H, W, C] upright, given its EXIF orientation."""
    array = np.ascontiguousarray(array)
    if orientation not in _TURNS:
        return array
    rows, columns, transposed = _TURNS[orientation]
    # All channels of a pixel are moved as one value, which is faster.
    pixels = array if array.ndim == 2 else array.view(f"V{array.itemsize * array.shape[2]}")[..., 0]
    pixels = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    turned = np.ascontiguousarray(pixels.T if transposed else pixels)
    return turned if array.ndim == 2 else turned.view(array.dtype).reshape(*turned.shape, array.shape[2])
