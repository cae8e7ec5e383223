"""Photographs decoded for training: 8-bit RGB, as a viewer would show them. All of it on the CPU."""

import io

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from colorlab.images.frames import ReadableFile, check_regular, check_size, read_frames
from colorlab.images.pillow import opened
from colorlab.images.pixels import over_white, turn_upright
from colorlab.images.profiles import space_of

try:
    import simplejpeg
except ImportError:  # no wheel for this Python: Pillow decodes the same pixels more slowly
    simplejpeg = None

MAX_PIXELS = 178_956_970
"""Larger photographs are refused as decompression bombs: Pillow's default limit, which a program may have lifted."""


def read_photograph(file: ReadableFile) -> Tensor:
    """Decode a file into what a viewer would show: upright by its EXIF orientation, in sRGB, alpha over white.

    16-bit files keep their upper 8 bits, pictures with an ICC profile are converted to sRGB. Plain
    JPEGs are decoded by simplejpeg, most other files by Pillow: both use libjpeg-turbo and agree bit by bit.
    Builds of libjpeg-turbo for other processors may differ by one level in places.

    Returns:
        rgb: [3, H, W] uint8, channels last in memory, in which resizing is fastest.

    Raises:
        OSError, ValueError, SyntaxError and others of the decoders: the file is not a readable picture.
    """
    content = read_file(file)
    try:
        rgb = _read_plain_jpeg(content)
        if rgb is None:
            frame = next(read_frames(io.BytesIO(content), deep=False, max_pixels=MAX_PIXELS))
            rgb = over_white(frame.pixels, frame.alpha)
    except Image.UnidentifiedImageError:
        # Pillow's own message names the address of an object in memory.
        raise Image.UnidentifiedImageError("cannot identify image file") from None
    return torch.from_numpy(rgb).permute(2, 0, 1)


def read_file(file: ReadableFile) -> bytes:
    """Return the content of a regular file. Pipes and devices are refused, since reading them may never end.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    check_regular(file)
    return file.read_bytes()


def _read_plain_jpeg(content: bytes) -> np.ndarray | None:
    """Decode a JPEG in sRGB or gray into [H, W, 3]; return None for any other file."""
    if simplejpeg is None or (orientation := _jpeg_orientation(content)) is None:
        return None
    try:
        return turn_upright(simplejpeg.decode_jpeg(content), orientation)
    except ValueError:  # Pillow decides whether the damage can be ignored
        return None


def _jpeg_orientation(content: bytes) -> int | None:
    """Return the EXIF orientation of a JPEG in sRGB or gray; None for any other file."""
    if not content.startswith(b"\xff\xd8"):
        return None
    with opened(io.BytesIO(content), limit=True) as picture:  # reads only the header
        check_size(picture.size, MAX_PIXELS)
        if picture.mode not in ("RGB", "L") or space_of(picture.info.get("icc_profile"), len(picture.getbands())):
            return None
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
