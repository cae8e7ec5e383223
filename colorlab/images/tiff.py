"""TIFFs of 16 bits a value, of which Pillow keeps 8, and before its version 12 none."""

import io
from math import prod
from pathlib import Path

import numpy as np
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from colorlab.images.profiles import space_of

HEADS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}

INKS = PHOTOMETRIC.SEPARATED
COLORS = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.RGB: 3, INKS: 4}
"""The kinds of a TIFF's page that are read in 16 bits, and their values a pixel beside alpha."""


def open_deep(source: Path | io.BytesIO) -> tifffile.TiffFile | None:
    """Open a TIFF if it has 16 bits a value; None for another, and for what is none."""
    if isinstance(source, io.BytesIO):
        source.seek(0)  # tifffile reads from where others left it
    try:
        tiff = tifffile.TiffFile(source)
    except tifffile.TiffFileError:
        return None
    page = tiff.pages.first
    if page.dtype == np.uint16 and page.bitspersample == 16:
        return tiff
    tiff.close()
    return None


def page_size(page: tifffile.TiffPage) -> tuple[int, int]:
    """Width and height of a page, or of its tile if that is larger, as it is unpacked whole."""
    return max((page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength), key=prod)


def read_page(page: tifffile.TiffPage) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """Decode a page.

    Returns:
        Its colors, [H, W], [H, W, 3] or [H, W, 4] uint16; its alpha [H, W], if it has one; and the ICC
        profile of the space that they are in.

    Raises:
        ValueError: what it holds is not known, and wrong colors are worse than none.
    """
    _check(page)
    array, alpha = _apart(page)
    if page.photometric == INKS and space_of(page.iccprofile, channels=4) is None:
        return _without_inks(array), alpha, None  # it is no longer in a space of the file's
    return array, alpha, page.iccprofile


def _check(page: tifffile.TiffPage) -> None:
    kind = PHOTOMETRIC(page.photometric)
    if kind not in COLORS:
        raise ValueError(f"{kind.name} is not read in 16 bits")
    if page.dtype != np.uint16 or page.bitspersample != 16:
        raise ValueError("a page has other bits than the first")
    flat = page.imagewidth * page.imagelength * page.samplesperpixel
    if page.size != flat or page.tiledepth > 1 or page.samplesperpixel - COLORS[kind] not in (0, 1):
        raise ValueError("a page holds more than colors and alpha")  # it is deep in space too, say, or several grays


def _apart(page: tifffile.TiffPage) -> tuple[np.ndarray, np.ndarray | None]:
    """A page's colors, [H, W], [H, W, 3] or [H, W, 4], and its alpha."""
    array, colors = page.asarray(), COLORS[page.photometric]
    if array.ndim == 2:
        array = array[..., None]
    elif page.planarconfig == PLANARCONFIG.SEPARATE:
        array = np.moveaxis(array, 0, -1)
    array, last = array[..., :colors], array[..., colors:]
    meaning = page.extrasamples[0] if page.extrasamples else EXTRASAMPLE.UNASSALPHA  # as Pillow takes it, untold
    is_alpha = last.size and meaning in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
    alpha = last[..., 0] if is_alpha else None
    if is_alpha and meaning == EXTRASAMPLE.ASSOCALPHA:
        array = _divided(array, alpha)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        array = ~array
    return array[..., 0] if colors == 1 else array, alpha


def _divided(array: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colors of 16 bits that were multiplied by their alpha, as they were before."""
    alpha = np.maximum(alpha, 1)[..., None].astype(np.uint32)
    return np.minimum((array * np.uint32(65535) + alpha // 2) // alpha, 65535).astype(np.uint16)


def _without_inks(array: np.ndarray) -> np.ndarray:
    """CMYK of no known inks in RGB, as Pillow has it in 8 bits: each ink takes its share of what black leaves."""
    white = np.uint32(65535)
    left = white - array[..., 3:]
    return (((white - array[..., :3]) * left + white // 2) // white).astype(np.uint16)
