"""What a picture file holds, decoded in one place, for training and for coloring alike.

Its frames and its alpha, its color space brought to sRGB, turned as EXIF says, with 16 bits where
somebody wants them. All of it on the CPU.
"""

import io
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import ExifTags, Image, TiffImagePlugin
from torch import Tensor

from colorlab.images.profiles import in_srgb, space_of
from colorlab.images.tiff import HEADS, open_deep, page_size, read_page

try:
    import simplejpeg
except ImportError:  # a Python it has no wheel for: Pillow reads the same pixels, more slowly
    simplejpeg = None

Image.init()  # until then Pillow knows the commonest alone
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF", "TGA")
    if name in Image.OPEN  # not each build knows them all
)
"""What is decoded, by content, whatever a file is called. Pillow has more, for which strangers' files are
no place to be tried: EPS is a program, which Ghostscript would run."""

MOST_PIXELS = 178_956_970
"""Of a photograph: the point at which Pillow, too, takes a picture for a bomb. Commands may lift Pillow's own limit."""


def read_photograph(path: Path) -> Tensor:
    """Decode a file into what a viewer would show: EXIF-rotated sRGB, alpha over white.

    16-bit files keep their upper 8 bits, pictures with an ICC profile are converted to sRGB. Plain
    JPEGs are decoded by simplejpeg, most else by Pillow: both are libjpeg-turbo and agree bit by bit.
    Builds of it on other processors may differ by a level here and there.

    Returns:
        rgb: [3, H, W] uint8, channels last in memory, where resizing is fastest.

    Raises:
        OSError, ValueError, SyntaxError and the like: the file is no readable picture.
    """
    content = read_file(path)
    try:
        rgb = _read_plain_jpeg(content)
        if rgb is None:
            rgb = _over_white(next(read_frames(io.BytesIO(content), deep=False, most=MOST_PIXELS)))
    except Image.UnidentifiedImageError:
        raise Image.UnidentifiedImageError("cannot identify image file") from None  # Pillow names an address
    return torch.from_numpy(rgb).permute(2, 0, 1)


def read_file(path: Path) -> bytes:
    """What is in a file; of a pipe or a device, whose end may never come, nothing is read.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    _check_regular(path)
    return path.read_bytes()


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")


def _read_plain_jpeg(content: bytes) -> np.ndarray | None:
    """Decode a JPEG in sRGB or gray into [H, W, 3]; None leaves another file to those who know all."""
    if simplejpeg is None or (orientation := _orientation_of_jpeg(content)) is None:
        return None
    try:
        return upright(simplejpeg.decode_jpeg(content), orientation)
    except ValueError:  # whether what is wrong with it can be overlooked, Pillow decides
        return None


def _orientation_of_jpeg(content: bytes) -> int | None:
    """How a JPEG in sRGB or gray lies, as EXIF counts it; None for another file."""
    if not content.startswith(b"\xff\xd8"):
        return None
    with _opened(io.BytesIO(content)) as picture:  # reads no more than the header
        _check_size(picture.size, MOST_PIXELS)
        if picture.mode not in ("RGB", "L") or space_of(picture.info.get("icc_profile"), len(picture.getbands())):
            return None
        return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _check_size(size: tuple[int, int], most: int | None) -> None:
    if most is not None and prod(size) > most:
        raise Image.DecompressionBombError(f"it unpacks to {size[0]}×{size[1]} pixels")


def _over_white(frame: "Frame") -> np.ndarray:
    """A frame of 8 bits as [H, W, 3]."""
    rgb = frame.pixels if frame.pixels.ndim == 3 else np.dstack([frame.pixels] * 3)
    if frame.alpha is None:
        return rgb
    rgba = Image.fromarray(np.dstack([rgb, frame.alpha]))
    return np.array(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


Source = Path | io.BytesIO
"""A file, or what is in it."""


class Frame(NamedTuple):
    """One picture of a file, upright and in sRGB."""

    pixels: np.ndarray  # [H, W] or [H, W, 3], uint8 or uint16
    alpha: np.ndarray | None  # [H, W], of as many bits as the file's
    profile: bytes | None  # the ICC profile it had
    exif: Image.Exif  # which still tells how the picture lay
    info: dict[Any, Any]  # what Pillow knows beside that: duration, loop, dpi, …


class PictureFile(NamedTuple):
    """A file whose head was read."""

    source: Source
    format: str  # as Pillow calls it
    count: int  # of frames
    size: tuple[int, int]  # width and height of its largest frame, in pixels; of a TIFF's tile, if that is larger
    deep: bool  # whether it has 16 bits a value

    @classmethod
    def of(cls, source: Source) -> "PictureFile":
        """Look what a file holds.

        Raises:
            UnidentifiedImageError: it is no picture.
            OSError: it cannot be read, or is no file.
        """
        if isinstance(source, Path):
            _check_regular(source)
        if (tiff := _deep_tiff(source)) is not None:
            with tiff:
                return cls(source, "TIFF", len(tiff.pages), _largest(map(page_size, tiff.pages)), deep=True)
        with _opened(source) as picture:
            deep = _is_deep_png(picture, source) if picture.format == "PNG" else picture.mode.startswith("I")
            if picture.format == "MPO":  # a telephone's JPEG, with a second view behind it
                return cls(source, "JPEG", 1, picture.size, deep)
            count = getattr(picture, "n_frames", 1)
            return cls(source, str(picture.format), count, _largest(_sizes(picture)), deep)

    def frames(self) -> Iterator[Frame]:
        """Decode one after the other; raises what decoders raise."""
        return read_frames(self.source, self.count)


def read_frames(source: Source, count: int = 1, deep: bool = True, most: int | None = None) -> Iterator[Frame]:
    """Decode so many frames of a file, one after the other.

    Args:
        source: the file.
        count: of frames; no more than there are.
        deep: keep 16 bits where they are. Without, the upper 8 of them are taken.
        most: pixels of a frame, and of a TIFF's tile; None is for those who have asked for its size.

    Raises:
        DecompressionBombError: it has more pixels than that.
        UnidentifiedImageError: it is no picture.
        OSError, ValueError, SyntaxError and the like: it cannot be decoded.
    """
    if (tiff := _deep_tiff(source)) is not None:
        with tiff:
            _check_size(page_size(tiff.pages.first), most)
            yield from (_deep_page(tiff, page, deep) for page in tiff.pages[:count])
        return
    with _opened(source) as picture:
        _check_size(_size(picture), most)
        first = prod(picture.size)
        for index in range(count):
            if index:
                picture.seek(index)
            if prod(picture.size) > first and picture.format != "TIFF":  # whose pages were asked for their sizes
                raise ValueError("a frame is larger than the first")  # a GIF's canvas grows with what does not fit
            yield _pillow_frame(picture, source, deep)


def _pillow_frame(picture: Image.Image, source: Source, deep: bool) -> Frame:
    """The frame that a file stands at."""
    _read_all(picture.getexif())  # now, as Pillow closes some files with their last frame
    picture.load()
    profile = picture.info.get("icc_profile")
    if deep and _is_deep_png(picture, source):
        array, alpha = _colors_and_alpha(imagecodecs.png_decode(_content(source)))
    elif picture.mode == "CMYK" and space_of(profile, channels=4):
        array, alpha = np.asarray(picture), None
    else:
        array, alpha = array_of(picture)
    fits = picture.mode != "CMYK" or array.shape[2] == 4  # as RGB, it is no longer in a space of the file's
    frame = Frame(array, alpha, profile if fits else None, picture.getexif(), dict(picture.info))
    return _for_a_viewer(frame, deep)


def array_of(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """A PIL image as [H, W] or [H, W, 3], uint8 or uint16, and its alpha, if it has one.

    Raises:
        ValueError: its pixels are floating point, or beyond 16 bits, without a known white.
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
    """What Pillow holds in more than 8 bits, with white at 65535; of a TIFF it gives the values as they are stored."""
    values, stored = np.asarray(picture), getattr(picture, "tag_v2", {})
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError("gray beyond 16 bits has no known white")
    values = values.astype(np.uint16)
    if stored.get(TiffImagePlugin.BITSPERSAMPLE) == (12,):
        values = values << 4 | values >> 8
    if stored.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == tifffile.PHOTOMETRIC.MINISWHITE:
        values = ~values
    return values


def _is_gray(picture: Image.Image) -> bool:
    """Whether it is read as gray: what is stored so, and a palette whose profile knows gray alone."""
    if picture.mode in ("P", "PA"):
        return space_of(picture.info.get("icc_profile"), channels=1) is not None
    return picture.mode in ("1", "L", "LA", "La")


def _sizes(picture: Image.Image) -> Iterator[tuple[int, int]]:
    """Of a TIFF's pages, the first last, since it stays the open one; frames of other formats have the first's size."""
    for index in reversed(range(picture.n_frames if picture.format == "TIFF" else 1)):
        picture.seek(index)
        yield _size(picture)


def _size(picture: Image.Image) -> tuple[int, int]:
    """Of the frame that a file stands at, or of a TIFF's tile if that is larger, as it is unpacked whole."""
    if picture.format != "TIFF":
        return picture.size
    tile = picture.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0), picture.tag_v2.get(TiffImagePlugin.TILELENGTH, 0)
    if not all(isinstance(side, int) for side in tile):
        raise Image.UnidentifiedImageError("a tile's size is no number")
    return _largest([picture.size, tile])


def _largest(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return max(sizes, key=prod)


def _is_deep_png(picture: Image.Image, source: Source) -> bool:
    """Whether this is a PNG of 16 bits a value; Pillow keeps 8 of them where there are colors or alpha.

    Of an animated one they are enough: Pillow alone knows its other frames.
    """
    return picture.format == "PNG" and picture.n_frames == 1 and _content(source, 26)[24:25] == b"\x10"


def _deep_tiff(source: Source) -> tifffile.TiffFile | None:
    """A TIFF of 16 bits a value, open; None if the file is another. Pillow keeps 8 of them, and before 12 none."""
    return open_deep(source) if _content(source, 4) in HEADS else None


def _deep_page(tiff: tifffile.TiffFile, page: tifffile.TiffPage, deep: bool) -> Frame:
    array, alpha, profile = read_page(page)
    exif = Image.Exif()
    exif.endian, exif.bigtiff = tiff.byteorder, tiff.is_bigtiff
    exif.load_from_fp(tiff.filehandle, page.offset)
    _read_all(exif)
    info = {"dpi": page.get_resolution(tifffile.RESUNIT.INCH)}
    return _for_a_viewer(Frame(array, alpha, profile, exif, info), deep)


def _colors_and_alpha(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Take apart what a PNG holds, [H, W] or [H, W, 2 to 4]."""
    if array.ndim == 2 or array.shape[2] == 3:
        return array, None
    colors = array[..., :-1]
    return colors[..., 0] if colors.shape[2] == 1 else colors, array[..., -1]


def _for_a_viewer(frame: Frame, deep: bool) -> Frame:
    """Bring what was decoded into sRGB, and turn it as EXIF says."""
    array, alpha = frame.pixels, frame.alpha
    if not deep:
        array, alpha = _upper_8_bits(array), _upper_8_bits(alpha)
    space = space_of(frame.profile, channels=1 if array.ndim == 2 else array.shape[2])
    if space is not None:
        array = in_srgb(array, frame.profile, space, deep)
    orientation = frame.exif.get(ExifTags.Base.Orientation, 1)
    alpha = None if alpha is None else upright(alpha, orientation)
    return frame._replace(pixels=upright(array, orientation), alpha=alpha)


def _upper_8_bits(values: np.ndarray | None) -> np.ndarray | None:
    return (values >> 8).astype(np.uint8) if values is not None and values.dtype == np.uint16 else values


def _read_all(exif: Image.Exif) -> None:
    """Read the directories of EXIF below a picture's own, which Pillow does when somebody asks for them."""
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if part in exif and ExifTags.IFD.Interop in exif.get_ifd(part):
            exif.get_ifd(ExifTags.IFD.Interop)


TURNS = {
    2: (False, True, False), 3: (True, True, False), 4: (True, False, False), 5: (False, False, True),
    6: (True, False, True), 7: (True, True, True), 8: (False, True, True),
}  # fmt: skip
"""What brings a picture upright, by EXIF's orientation: rows, and columns, the other way round; then both swapped."""


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn [H, W] or [H, W, C] as EXIF's orientation says."""
    array = np.ascontiguousarray(array)
    if orientation not in TURNS:
        return array
    rows, columns, swapped = TURNS[orientation]
    pixels = array if array.ndim == 2 else array.view(f"V{array.itemsize * array.shape[2]}")[..., 0]  # moved as one
    pixels = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    turned = np.ascontiguousarray(pixels.T if swapped else pixels)
    return turned if array.ndim == 2 else turned.view(array.dtype).reshape(*turned.shape, array.shape[2])


def _content(source: Source, count: int = -1) -> bytes:
    if isinstance(source, io.BytesIO):
        return bytes(source.getbuffer()[: None if count < 0 else count])
    with source.open("rb") as file:
        return file.read(count)


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    """A file as Pillow knows it, without a line for odd EXIF; whoever minds a picture's size asks for it.

    Pillow is not told its name: it would map the file into memory, and 13.0 garbles a TIFF on its side in this way.
    """
    with (
        warnings.catch_warnings(action="ignore"),
        nullcontext(source) if isinstance(source, io.BytesIO) else source.open("rb") as file,
        Image.open(file, formats=FORMATS) as picture,
    ):
        yield picture
