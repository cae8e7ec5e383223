"""The frames of a picture file: how many, how large, and each one decoded, in sRGB and upright."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, TiffImagePlugin

from colorlab.images.pillow import Source, content_of, opened
from colorlab.images.pixels import array_of, split_alpha, turn_upright, upper_8_bits
from colorlab.images.profiles import space_of, to_srgb
from colorlab.images.tiff import open_deep_tiff, page_size, pages_of, read_page


class ReadableFile(Protocol):
    """What reading a picture needs of its file: `Path` has it, and so has a photograph in a shard."""

    def read_bytes(self) -> bytes: ...

    def stat(self) -> os.stat_result: ...


class Frame(NamedTuple):
    """One picture of a file, upright and in sRGB."""

    pixels: np.ndarray  # [H, W] or [H, W, 3], uint8 or uint16
    alpha: np.ndarray | None  # [H, W], with as many bits as in the file
    profile: bytes | None  # the ICC profile in the file
    exif: Image.Exif  # as in the file, with its orientation
    info: dict[Any, Any]  # Pillow's other metadata: duration, loop, dpi, …


@dataclass(frozen=True)
class PictureFile:
    """A picture file whose header was read.

    Args:
        source: the file.
        format: Pillow's name of its format.
        count: the number of frames.
        size: width and height of the largest frame in pixels; of a TIFF's tile, if that is larger.
        deep: whether the file has 16 bits per channel.
    """

    source: Source
    format: str
    count: int
    size: tuple[int, int]
    deep: bool

    @classmethod
    def of(cls, source: Source) -> "PictureFile":
        """Read the header of a file.

        Raises:
            UnidentifiedImageError: the file is not a picture.
            OSError: the file cannot be read, or is not a regular file.
        """
        if isinstance(source, Path):
            check_regular(source)
        if (tiff := open_deep_tiff(source)) is not None:
            with tiff:
                pages = pages_of(tiff)
                return cls(source, "TIFF", len(pages), _largest(map(page_size, pages)), deep=True)
        with opened(source, limit=False) as picture:
            deep = _is_deep_png(picture, source) if picture.format == "PNG" else picture.mode.startswith("I")
            if picture.format == "MPO":  # a phone's JPEG with a second view after it
                return cls(source, "JPEG", 1, picture.size, deep)
            return cls(source, str(picture.format), _count(picture), _largest(_sizes(picture)), deep)

    def frames(self) -> Iterator[Frame]:
        """Decode the frames one after the other; raises what decoders raise."""
        return read_frames(self.source, self.count)


def check_regular(file: ReadableFile) -> None:
    """Raise OSError if a file is not a regular one: reading a pipe or a device may never end."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError("it is not a regular file")


def check_size(size: tuple[int, int], max_pixels: int | None) -> None:
    """Raise DecompressionBombError if a width and height give more pixels than allowed; None allows any number."""
    if max_pixels is not None and prod(size) > max_pixels:
        raise Image.DecompressionBombError(f"it unpacks to {size[0]}×{size[1]} pixels")


def read_frames(source: Source, count: int = 1, deep: bool = True, max_pixels: int | None = None) -> Iterator[Frame]:
    """Decode the first frames of a file, one after the other.

    Args:
        source: the file.
        count: the number of frames, at most as many as the file has.
        deep: keep 16 bits where the file has them; otherwise take the upper 8 of them.
        max_pixels: of a frame, and of a TIFF's tile; None if the caller has checked the size.

    Raises:
        DecompressionBombError: a frame has more pixels than `max_pixels`.
        UnidentifiedImageError: the file is not a picture.
        OSError, ValueError, SyntaxError and others of the decoders: a frame cannot be decoded.
    """
    if (tiff := open_deep_tiff(source)) is not None:
        with tiff:
            pages = pages_of(tiff, count)
            check_size(page_size(pages[0]), max_pixels)
            yield from (_tiff_frame(tiff, page, deep) for page in pages)
        return
    with opened(source, limit=max_pixels is not None) as picture:
        check_size(_size(picture), max_pixels)
        first = prod(picture.size)
        for index in range(count):
            if index:
                picture.seek(index)
            if prod(picture.size) > first and picture.format != "TIFF":  # `PictureFile.size` covers a TIFF's pages
                raise ValueError("a frame is larger than the first")  # a GIF's canvas grows to hold such a frame
            yield _pillow_frame(picture, source, deep)


def _tiff_frame(tiff: tifffile.TiffFile, page: tifffile.TiffPage, deep: bool) -> Frame:
    array, alpha, profile = read_page(page)
    exif = Image.Exif()
    exif.endian, exif.bigtiff = tiff.byteorder, tiff.is_bigtiff
    exif.load_from_fp(tiff.filehandle, page.offset)  # type: ignore[arg-type]  # it reads and seeks as a file does
    _load_directories(exif)
    info = {"dpi": page.get_resolution(tifffile.RESUNIT.INCH)}
    return _upright_in_srgb(Frame(array, alpha, profile, exif, info), deep)


def _pillow_frame(picture: Image.Image, source: Source, deep: bool) -> Frame:
    """Decode the frame at which a file opened with Pillow stands."""
    _load_directories(picture.getexif())  # before `load`, as Pillow closes some files with their last frame
    picture.load()
    profile = picture.info.get("icc_profile")
    if deep and _is_deep_png(picture, source):
        array, alpha = split_alpha(imagecodecs.png_decode(content_of(source)))
    elif picture.mode == "CMYK" and space_of(profile, channels=4):
        array, alpha = np.asarray(picture), None
    else:
        array, alpha = array_of(picture)
        profile = None if picture.mode == "CMYK" else profile  # the pixels are RGB now, of no profile in the file
    return _upright_in_srgb(Frame(array, alpha, profile, picture.getexif(), dict(picture.info)), deep)


def _upright_in_srgb(frame: Frame, deep: bool) -> Frame:
    """Convert a frame from its profile's color space to sRGB, and turn it upright by its EXIF orientation."""
    pixels, alpha = frame.pixels, frame.alpha
    if not deep:
        pixels, alpha = upper_8_bits(pixels), None if alpha is None else upper_8_bits(alpha)
    space = space_of(frame.profile, channels=1 if pixels.ndim == 2 else pixels.shape[2])
    if space is not None:
        pixels = to_srgb(pixels, space, deep)
    orientation = frame.exif.get(ExifTags.Base.Orientation, 1)
    alpha = None if alpha is None else turn_upright(alpha, orientation)
    return frame._replace(pixels=turn_upright(pixels, orientation), alpha=alpha)


def _load_directories(exif: Image.Exif) -> None:
    """Load the EXIF directories that Pillow reads only on request, while their file is open."""
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if part in exif and ExifTags.IFD.Interop in exif.get_ifd(part):
            exif.get_ifd(ExifTags.IFD.Interop)


def _count(picture: Image.Image) -> int:
    return getattr(picture, "n_frames", 1)


def _is_deep_png(picture: Image.Image, source: Source) -> bool:
    """Return whether a file is a PNG of 16 bits and one frame; Pillow decodes 8 of them if it has colors or alpha.

    An animated PNG is left to Pillow, as no other decoder here knows its later frames.
    """
    return picture.format == "PNG" and _count(picture) == 1 and content_of(source, 26)[24:25] == b"\x10"


def _sizes(picture: Image.Image) -> Iterator[tuple[int, int]]:
    """Yield the size of each page of a TIFF, the first one last, so that it stays the current one.

    For other formats, only the size of the first frame, which all frames have.
    """
    for index in reversed(range(_count(picture) if picture.format == "TIFF" else 1)):
        picture.seek(index)
        yield _size(picture)


def _size(picture: Image.Image) -> tuple[int, int]:
    """Return the size of the current frame, or of a TIFF's tile if that is larger, as tiles are decoded whole."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return picture.size
    tags = picture.tag_v2
    tile = tags.get(TiffImagePlugin.TILEWIDTH, 0), tags.get(TiffImagePlugin.TILELENGTH, 0)
    if not all(isinstance(side, int) for side in tile):
        raise Image.UnidentifiedImageError("the size of a tile is not a number")
    return _largest([picture.size, tile])


def _largest(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return max(sizes, key=prod)
