"""The color spaces of ICC profiles, and the way from them to sRGB."""

import io
from functools import lru_cache
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, ImageCms


class Space(NamedTuple):
    """The color space of an ICC profile."""

    name: str  # as imagecodecs calls it
    mode: str  # as Pillow does
    channels: int
    to_srgb: ImageCms.ImageCmsTransform  # in 8 bits


SPACES = {"GRAY": ("gray", "L", 1), "RGB": ("rgb", "RGB", 3), "CMYK": ("cmyk", "CMYK", 4)}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def space_of(profile: bytes | None, channels: int | None = None) -> Space | None:
    """The space of a profile that matters; None for sRGB's own, for a useless one, and one of other channels."""
    space = _space_of(profile) if profile else None
    return space if space is not None and channels in (None, space.channels) else None


@lru_cache(maxsize=16)
def _space_of(profile: bytes) -> Space | None:
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name, mode, channels = SPACES[read.profile.xcolor_space.strip()]
        to_srgb = ImageCms.buildTransform(read, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (KeyError, OSError, ImageCms.PyCMSError):
        return None
    return None if mode == "RGB" and _changes_nothing(to_srgb) else Space(name, mode, channels, to_srgb)


def _changes_nothing(to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether colors stay within a level of themselves; a profile's name does not tell, as linear ones have sRGB's."""
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    seen = np.asarray(ImageCms.applyTransform(Image.fromarray(colors), to_srgb))
    return np.abs(seen.astype(int) - colors).max() <= 1


def in_srgb(array: np.ndarray, profile: bytes, space: Space, deep: bool) -> np.ndarray:
    """[H, W] or [H, W, C] of a profile's space in sRGB, [H, W, 3]: uint16 if deep, or else uint8, as it was."""
    if deep:  # in 16 bits even what has 8, so that what goes there and back is what it was
        return imagecodecs.cms_transform(
            array, profile, SRGB, colorspace=space.name, outcolorspace="rgb", outdtype=np.uint16
        )
    picture = Image.frombytes(space.mode, array.shape[1::-1], array.tobytes())
    return np.array(ImageCms.applyTransform(picture, space.to_srgb))
