"""What a picture file holds, decoded in one place, for training and for coloring alike.

Its frames and its alpha, its color space brought to sRGB, turned as EXIF says, with 16 bits where
somebody wants them. All of it on the CPU.
"""

import io
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG
from torch import Tensor

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
    if simplejpeg is None or (orientation := _orientation_if_plain(content)) is None:
        return None
    try:
        return upright(simplejpeg.decode_jpeg(content), orientation)
    except ValueError:  # whether what is wrong with it can be overlooked, Pillow decides
        return None


def _orientation_if_plain(content: bytes) -> int | None:
    """How a JPEG in sRGB or gray lies, as EXIF counts it; None for another file."""
    if not content.startswith(b"\xff\xd8"):
        return None
    with _opened(io.BytesIO(content)) as picture:  # reads no more than the header
        _check_size(picture.size, MOST_PIXELS)
        if picture.mode not in ("RGB", "L") or space_of(picture.info.get("icc_profile"), len(picture.getbands())):
            return None
        return picture.getexif().get(ExifTags.Base.Orientation, 1)


def is_plain_jpeg(content: bytes) -> bool:
    """Whether a file is a JPEG that every decoder reads alike: whole, in sRGB, and in color, kept as JPEGs keep it.

    Raises:
        OSError, ValueError, SyntaxError and the like: its head cannot be read.
    """
    whole = content[-64:].rstrip(b"\0").endswith(b"\xff\xd9")
    if simplejpeg is None or not whole or _orientation_if_plain(content) is None:
        return False
    *_, colors, _ = simplejpeg.decode_jpeg_header(content)
    return colors == "YCbCr"


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
                return cls(source, "TIFF", len(tiff.pages), _largest(map(_page_size, tiff.pages)), deep=True)
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
            _check_size(_page_size(tiff.pages.first), most)
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
    if stored.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == PHOTOMETRIC.MINISWHITE:
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


def _page_size(page: tifffile.TiffPage) -> tuple[int, int]:
    """The same of a page that tifffile reads."""
    return _largest([(page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength)])


def _largest(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return max(sizes, key=prod)


def _is_deep_png(picture: Image.Image, source: Source) -> bool:
    """Whether this is a PNG of 16 bits a value; Pillow keeps 8 of them where there are colors or alpha.

    Of an animated one they are enough: Pillow alone knows its other frames.
    """
    return picture.format == "PNG" and picture.n_frames == 1 and _content(source, 26)[24:25] == b"\x10"


def _deep_tiff(source: Source) -> tifffile.TiffFile | None:
    """A TIFF of 16 bits a value, open; None if the file is another. Pillow keeps 8 of them, and before 12 none."""
    if _content(source, 4) not in TIFF_HEADS:
        return None
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


TIFF_HEADS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}

INKS = PHOTOMETRIC.SEPARATED
COLORS = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.RGB: 3, INKS: 4}
"""The kinds of a TIFF's page that are read in 16 bits, and their values a pixel beside alpha."""


def _deep_page(tiff: tifffile.TiffFile, page: tifffile.TiffPage, deep: bool) -> Frame:
    _check_page(page)
    array, alpha = _apart(page)
    profile = page.iccprofile
    if page.photometric == INKS and space_of(profile, channels=4) is None:
        array, profile = _without_inks(array), None  # it is no longer in a space of the file's
    exif = Image.Exif()
    exif.endian, exif.bigtiff = tiff.byteorder, tiff.is_bigtiff
    exif.load_from_fp(tiff.filehandle, page.offset)
    _read_all(exif)
    info = {"dpi": page.get_resolution(tifffile.RESUNIT.INCH)}
    return _for_a_viewer(Frame(array, alpha, profile, exif, info), deep)


def _check_page(page: tifffile.TiffPage) -> None:
    """See that what a page of a deep TIFF holds is known, as wrong colors are worse than none.

    Raises:
        ValueError: it is not.
    """
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
        array = _in_srgb(array, frame.profile, space, deep)
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


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF's orientation
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: array[::-1].swapaxes(0, 1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: array[:, ::-1].swapaxes(0, 1),
}


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn [H, W] or [H, W, C] as EXIF's orientation says."""
    array = np.ascontiguousarray(array)
    if orientation not in TURNS:
        return array
    if array.ndim == 2:
        return np.ascontiguousarray(TURNS[orientation](array))
    pixels = array.view(f"V{array.itemsize * array.shape[2]}")[..., 0]  # each moved as one, which is quick
    turned = np.ascontiguousarray(TURNS[orientation](pixels))
    return turned.view(array.dtype).reshape(*turned.shape, array.shape[2])


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


def _in_srgb(array: np.ndarray, profile: bytes, space: Space, deep: bool) -> np.ndarray:
    if deep:  # in 16 bits even what has 8, so that what goes there and back is what it was
        return imagecodecs.cms_transform(
            array, profile, SRGB, colorspace=space.name, outcolorspace="rgb", outdtype=np.uint16
        )
    picture = Image.frombytes(space.mode, array.shape[1::-1], array.tobytes())
    return np.array(ImageCms.applyTransform(picture, space.to_srgb))


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
