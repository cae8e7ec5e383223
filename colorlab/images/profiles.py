"""The color spaces of ICC profiles, and conversion from them to sRGB."""

import io
from functools import lru_cache
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, ImageCms


class Space(NamedTuple):
    """The color space of an ICC profile."""

    profile: bytes
    name: str  # in imagecodecs: gray, rgb or cmyk
    mode: str  # in Pillow: L, RGB or CMYK
    channels: int
    to_srgb: ImageCms.ImageCmsTransform  # in 8 bits


_SPACES = {"GRAY": ("gray", "L", 1), "RGB": ("rgb", "RGB", 3), "CMYK": ("cmyk", "CMYK", 4)}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def space_of(profile: bytes | None, channels: int | None = None) -> Space | None:
    """Return the color space of a profile; None if the profile is sRGB, unusable, or for other channels."""
    space = _space_of(profile) if profile else None
    return space if space is not None and channels in (None, space.channels) else None


@lru_cache(maxsize=16)
def _space_of(profile: bytes) -> Space | None:
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name, mode, channels = _SPACES[read.profile.xcolor_space.strip()]
        to_srgb = ImageCms.buildTransform(read, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (KeyError, OSError, ImageCms.PyCMSError):
        return None
    return None if mode == "RGB" and _is_identity(to_srgb) else Space(profile, name, mode, channels, to_srgb)


def _is_identity(to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Return whether no color changes by more than a level. A profile's name is no test: linear ones say sRGB too."""
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(colors), to_srgb))
    return bool(np.abs(converted.astype(int) - colors).max() <= 1)


def to_srgb(pixels: np.ndarray, space: Space, deep: bool) -> np.ndarray:
    """Convert [H, W] or [H, W, C] from a color space to sRGB.

    Args:
        pixels: uint8 or uint16.
        space: the color space of the pixels.
        deep: return uint16 even for uint8, so that converting back gives the original values.

    Returns:
        [H, W, 3] uint16 if deep, otherwise uint8.
    """
    if deep:
        return imagecodecs.cms_transform(
            pixels, space.profile, SRGB, colorspace=space.name, outcolorspace="rgb", outdtype=np.uint16
        )
    picture = Image.frombytes(space.mode, pixels.shape[1::-1], pixels.tobytes())
    return np.array(ImageCms.applyTransform(picture, space.to_srgb))


def from_srgb(pixels: np.ndarray, profile: bytes | None, dtype: np.dtype) -> tuple[np.ndarray, bytes | None]:
    """Convert colors from sRGB to the RGB space of a profile, if it has one that can be converted to.

    Args:
        pixels: [H, W, 3], uint8 or uint16.
        profile: an ICC profile, or None for sRGB.
        dtype: uint8 or uint16, of the result if it was converted.

    Returns:
        The pixels, and the profile of their space: sRGB's in place of one for gray or CMYK, or of one that
        only converts from its space, as a scanner's may.
    """
    space = space_of(profile)
    if space is None:
        return pixels, profile
    if space.name != "rgb" or not _can_convert_to(space.profile):
        return pixels, SRGB
    converted = imagecodecs.cms_transform(
        pixels, SRGB, space.profile, colorspace="rgb", outcolorspace="rgb", outdtype=dtype
    )
    return converted, profile


@lru_cache(maxsize=16)
def _can_convert_to(profile: bytes) -> bool:
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), own, "RGB", "RGB") is not None
    except ImageCms.PyCMSError:
        return False
