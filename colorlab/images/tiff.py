"""Reading TIFFs with 16 bits per channel, of which Pillow keeps 8, or none before its version 12."""

import io
from math import prod

import numpy as np
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from colorlab.images.pillow import Source, content_of
from colorlab.images.profiles import space_of

_SIGNATURES = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}

_COLOR_CHANNELS = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.RGB: 3, PHOTOMETRIC.SEPARATED: 4}
"""The kinds of page that are read in 16 bits, and their channels without alpha; SEPARATED is CMYK."""


def open_deep_tiff(source: Source) -> tifffile.TiffFile | None:
    """Open a TIFF with 16 bits per channel; return None for any other file."""
    if content_of(source, 4) not in _SIGNATURES:
        return None
    if isinstance(source, io.BytesIO):
        source.seek(0)  # tifffile reads from the current position
    try:
        tiff = tifffile.TiffFile(source)
    except tifffile.TiffFileError:
        return None
    page = tiff.pages.first
    if page.dtype == np.uint16 and page.bitspersample == 16:
        return tiff
    tiff.close()
    return None


def pages_of(tiff: tifffile.TiffFile, count: int | None = None) -> list[tifffile.TiffPage]:
    """Return the first pages of a TIFF, or all."""
    return [page.aspage() for page in tiff.pages[:count]]


def page_size(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return width and height of a page, or of its tile if that is larger, as tiles are decoded whole."""
    return max((page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength), key=prod)


def read_page(page: tifffile.TiffPage) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """Decode a page.

    Returns:
        Colors [H, W], [H, W, 3] or [H, W, 4] uint16; alpha [H, W], if the page has one; the ICC profile
        of the space that the colors are in.

    Raises:
        ValueError: the page is of a kind that would be decoded to wrong colors.
    """
    photometric = _supported_photometric(page)
    colors, alpha = _colors_and_alpha(page, photometric)
    if photometric == PHOTOMETRIC.SEPARATED and space_of(page.iccprofile, channels=4) is None:
        return _cmyk_to_rgb(colors), alpha, None  # now RGB, of no profile in the file
    return colors, alpha, page.iccprofile


def _supported_photometric(page: tifffile.TiffPage) -> PHOTOMETRIC:
    photometric = PHOTOMETRIC(page.photometric)
    if photometric not in _COLOR_CHANNELS:
        raise ValueError(f"{photometric.name} is not read in 16 bits")
    if page.dtype != np.uint16 or page.bitspersample != 16:
        raise ValueError("a page has other bits than the first")
    plane_size = page.imagewidth * page.imagelength * page.samplesperpixel
    extra_channels = page.samplesperpixel - _COLOR_CHANNELS[photometric]
    if page.size != plane_size or page.tiledepth > 1 or extra_channels not in (0, 1):
        raise ValueError("a page holds more than colors and alpha")  # a volume, say, or several gray pictures
    return photometric


def _colors_and_alpha(page: tifffile.TiffPage, photometric: PHOTOMETRIC) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the colors of a page, [H, W], [H, W, 3] or [H, W, 4], and its alpha."""
    array, count = page.asarray(), _COLOR_CHANNELS[photometric]
    if array.ndim == 2:
        array = array[..., None]
    elif page.planarconfig == PLANARCONFIG.SEPARATE:
        array = np.moveaxis(array, 0, -1)
    colors, extra = array[..., :count], array[..., count:]
    meaning = page.extrasamples[0] if page.extrasamples else EXTRASAMPLE.UNASSALPHA  # Pillow's default, too
    alpha = None
    if extra.size and meaning in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA):
        alpha = extra[..., 0]
        if meaning == EXTRASAMPLE.ASSOCALPHA:
            colors = _unpremultiplied(colors, alpha)
    if photometric == PHOTOMETRIC.MINISWHITE:
        colors = ~colors
    return colors[..., 0] if count == 1 else colors, alpha


def _unpremultiplied(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Divide 16-bit colors by the alpha with which they were multiplied."""
    divisor = np.maximum(alpha, 1)[..., None].astype(np.uint32)
    return np.minimum((colors * np.uint32(65535) + divisor // 2) // divisor, 65535).astype(np.uint16)


def _cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    """Convert 16-bit CMYK without a profile as Pillow does in 8 bits: (1 - ink) · (1 - black)."""
    white = np.uint32(65535)
    light = white - cmyk[..., 3:]
    return (((white - cmyk[..., :3]) * light + white // 2) // white).astype(np.uint16)
