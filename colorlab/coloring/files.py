"""Picture files: read frame by frame, and written back with what belongs to them.

Kept are the format, the frames and how long each is shown, the alpha, 16 bits where they were (in PNG
and TIFF), EXIF (of a TIFF only the texts of its own directory), resolution and the ICC profile: a
picture is colored in sRGB and then brought back to its own RGB space. A gray or CMYK profile fits no
picture in RGB: sRGB's takes its place.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from colorlab.coloring.picture import array_of
from colorlab.data.images import FORMATS
from colorlab.data.images import SUFFIXES as PHOTOGRAPHS
from colorlab.errors import UserError

SUFFIXES = PHOTOGRAPHS | {".avif", ".gif", ".jp2", ".pgm", ".pnm", ".ppm", ".tga"}
"""The files that are taken from a folder."""

MEGAPIXELS = 200.0
"""A frame of more is taken for a decompression bomb."""

DEEP = ("PNG", "TIFF")
"""Formats that are written with 16 bits a value."""

ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")
"""Formats that are written with several frames."""

OPAQUE = ("BMP", "JPEG", "PPM")
"""Formats that are written without alpha."""

QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},  # the color is what was asked for: none of it is thinned out
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
}

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

Source = Path | io.BytesIO
"""A file, or what is in it."""


class Frame(NamedTuple):
    """One picture of a file, upright and in sRGB."""

    pixels: np.ndarray  # [H, W] or [H, W, 3], uint8 or uint16
    alpha: np.ndarray | None  # [H, W], of the same dtype
    profile: bytes | None  # the ICC profile it had
    exif: Image.Exif
    info: dict[Any, Any]  # what Pillow knows beside that: duration, loop, dpi, …


class PictureFile(NamedTuple):
    """A file whose head was read."""

    format: str  # as Pillow calls it
    count: int  # of frames
    size: tuple[int, int]  # width and height of its largest frame, in pixels
    deep: bool  # whether it has 16 bits a value
    frames: Callable[[], Iterator[Frame]]  # decodes one after the other; raises what decoders raise


def open_picture(source: Source, megapixels: float = MEGAPIXELS) -> PictureFile:
    """Look what a file holds.

    Raises:
        UserError: it is no picture, or one too large.
        OSError: it cannot be read.
    """
    try:
        with _quiet(), Image.open(source, formats=FORMATS) as picture:
            several = picture.format != "MPO"  # a telephone's JPEG, with a second view behind it
            deep_tiff = picture.format == "TIFF" and picture.tag_v2.get(BITS, (8,))[0] == 16
            file = PictureFile(
                format=str(picture.format) if several else "JPEG",
                count=getattr(picture, "n_frames", 1) if several else 1,
                size=_largest(_sizes(picture)),
                deep=deep_tiff or picture.mode.startswith("I") or _is_deep_png(source),
                frames=lambda: _deep_tiff_frames(source, file.size) if deep_tiff else _frames(source, file),
            )
    except UnidentifiedImageError as error:
        file = _open_deep_tiff(source)
        if file is None:
            raise UserError("it is not a picture that can be read") from error
    width, height = file.size
    if width * height > megapixels * 1e6:
        raise UserError(f"it unpacks to {width}×{height} pixels: if they are meant, raise --megapixels={megapixels:g}")
    return file


# -- read --------------------------------------------------------------------------------------------


def _sizes(picture: Image.Image) -> Iterator[tuple[int, int]]:
    """Of a TIFF's pages, the first last, since it stays the open one; frames of other formats have the first's size."""
    for index in reversed(range(picture.n_frames if picture.format == "TIFF" else 1)):
        picture.seek(index)
        yield picture.size


def _largest(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return max(sizes, key=prod)


def _frames(source: Source, file: PictureFile) -> Iterator[Frame]:
    with _quiet(), Image.open(source, formats=FORMATS) as picture:
        for index in range(file.count):
            if index:
                picture.seek(index)
            if prod(picture.size) > prod(file.size):  # a GIF's canvas grows with a frame that does not fit
                raise ValueError("a frame is larger than the first")
            picture.load()
            profile = picture.info.get("icc_profile")
            if _is_deep_png(source):
                array, alpha = _colors_and_alpha(imagecodecs.png_decode(_content(source)))
            elif picture.mode == "CMYK" and _space(profile) == "cmyk":
                array, alpha = np.asarray(picture), None
            else:
                array, alpha = _colors_and_alpha(*array_of(picture))
            yield _frame(array, alpha, profile, picture.getexif(), dict(picture.info))


def _is_deep_png(source: Source) -> bool:
    """Whether this is a PNG of 16 bits a value; Pillow keeps 8 of them where there are colors or alpha."""
    head = _content(source, 26)
    return head.startswith(b"\x89PNG") and head[24] == 16


def _open_deep_tiff(source: Source) -> PictureFile | None:
    """A TIFF of 16-bit colors, which Pillow before 12 does not know; None if it is none."""
    try:
        with _open_tiff(source) as tiff:
            page = tiff.pages.first
            if page.dtype != np.uint16 or page.ndim != 3:
                return None
            size = _largest((page.imagewidth, page.imagelength) for page in tiff.pages)
            return PictureFile("TIFF", len(tiff.pages), size, True, lambda: _deep_tiff_frames(source, size))
    except tifffile.TiffFileError:
        return None


def _deep_tiff_frames(source: Source, largest: tuple[int, int]) -> Iterator[Frame]:
    with _open_tiff(source) as tiff:
        for page in tiff.pages:
            if page.size > 4 * prod(largest):  # it is deep in space too, say, or has a hundred channels
                raise ValueError("a page holds more than colors and alpha")
            array = page.asarray()
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
                array = np.moveaxis(array, 0, -1)
            exif = Image.Exif()
            for tag in page.tags:
                if isinstance(tag.value, str | int) and tag.code not in STRUCTURE:
                    exif[tag.code] = tag.value
            info = {"dpi": page.get_resolution(tifffile.RESUNIT.INCH)}
            yield _frame(*_colors_and_alpha(array), page.iccprofile, exif, info)


def _open_tiff(source: Source) -> tifffile.TiffFile:
    if isinstance(source, io.BytesIO):
        source.seek(0)  # tifffile reads from where others left it
    return tifffile.TiffFile(source)


def _colors_and_alpha(array: np.ndarray, alpha: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Take apart what may be [H, W, 1 to 4]."""
    if array.ndim == 3 and array.shape[2] in (2, 4):
        array, alpha = array[..., :-1], array[..., -1]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return array, None if alpha is None else np.asarray(alpha)


def _frame(
    array: np.ndarray, alpha: np.ndarray | None, profile: bytes | None, exif: Image.Exif, info: dict[Any, Any]
) -> Frame:
    """Bring what was decoded into sRGB, and turn it as EXIF says."""
    space = _space(profile)
    channels = 1 if array.ndim == 2 else array.shape[2]
    if space is not None and channels == {"gray": 1, "rgb": 3, "cmyk": 4}[space]:
        # In 16 bits, so that what goes there and back is what it was.
        array = imagecodecs.cms_transform(
            array, profile, SRGB, colorspace=space, outcolorspace="rgb", outdtype=np.uint16
        )
    turn = TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    if turn is not None:
        exif[ExifTags.Base.Orientation] = 1
        array, alpha = turn(array), None if alpha is None else turn(alpha)
    return Frame(np.ascontiguousarray(array), alpha, profile, exif, info)


BITS = 258
"""A TIFF's tag: how many bits a value has."""

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF's orientation
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: array[::-1].swapaxes(0, 1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: array[:, ::-1].swapaxes(0, 1),
}


@lru_cache(maxsize=16)
def _space(profile: bytes | None) -> str | None:
    """The space of a profile that matters: gray, rgb or cmyk; None for sRGB's own and for a useless one."""
    if not profile:
        return None
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(read).lower():
            return None
        return {"GRAY": "gray", "RGB": "rgb", "CMYK": "cmyk"}.get(read.profile.xcolor_space.strip())
    except (OSError, ImageCms.PyCMSError):
        return None


def _content(source: Source, count: int = -1) -> bytes:
    if isinstance(source, io.BytesIO):
        return bytes(source.getbuffer()[: None if count < 0 else count])
    with source.open("rb") as file:
        return file.read(count)


@contextmanager
def _quiet() -> Iterator[None]:
    """Odd EXIF is not worth a line, and a picture's size is checked here, not by Pillow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- write -------------------------------------------------------------------------------------------


def format_to_write(file: PictureFile, suffix: str | None) -> str:
    """What a colored file becomes: what its new name says, or its own format where that can hold it, or PNG.

    Raises:
        UserError: no format has this suffix, or it holds one frame and there are more.
    """
    Image.init()
    if suffix is None:
        kept = file.format in Image.SAVE and (file.format in DEEP or not file.deep)
        return file.format if kept and (file.format in ANIMATED or file.count == 1) else "PNG"
    format = Image.registered_extensions().get(suffix.lower(), "")
    if format not in Image.SAVE:
        raise UserError(f"pictures are not written as {suffix or 'a file without a suffix'}: use .png, .jpg or .tif")
    if file.count > 1 and format not in ANIMATED:
        raise UserError(f"it has {file.count} frames and {suffix} holds one: use .gif, .webp or .tif")
    return format


def write_picture(target: Source, file: PictureFile, frames: Iterable[Frame], format: str) -> None:
    """Write the colored frames of a file.

    Args:
        target: a file, which is written in place, or a buffer.
        file: what they come from.
        frames: in the order of the file. A TIFF's are asked for and written one after the other;
            Pillow takes all of another format's at once.
        format: of `format_to_write`.

    Raises:
        OSError: it cannot be written.
    """
    ready = (_in_own_space(frame, file.deep and format in DEEP) for frame in frames)
    if format == "TIFF":
        _write_tiff(target, ready, bytes_at_most=file.count * prod(file.size) * 8)
    elif format == "PNG" and file.deep and file.count == 1:
        _write_deep_png(target, next(ready))
    else:
        _write_with_pillow(target, ready, format)


def _in_own_space(frame: Frame, deep: bool) -> Frame:
    """Bring a colored frame back to its profile's space and to 8 bits, or 16."""
    pixels, profile, space = frame.pixels, frame.profile, _space(frame.profile)
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    if space == "rgb":
        pixels = imagecodecs.cms_transform(pixels, SRGB, profile, colorspace="rgb", outcolorspace="rgb", outdtype=dtype)
    elif space is not None:
        profile = SRGB
    return frame._replace(pixels=_as(pixels, dtype), alpha=_as(frame.alpha, dtype), profile=profile)


def _as(values: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
    if values is None or values.dtype == dtype:
        return values
    return values.astype(np.uint16) * 257 if dtype == np.uint16 else ((values + np.uint32(128)) // 257).astype(np.uint8)


STRUCTURE = {  # tags of a TIFF that say how its pixels lie; a new file has its own
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 297, 301, 317, 318, 319,
    320, 321, 322, 323, 324, 325, 330, 332, 333, 338, 339, 340, 341, 347, 529, 530, 531, 532, 282, 283, 296, 34675,
}  # fmt: skip
PART_OF_EXIF = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop)


def _write_tiff(target: Source, frames: Iterable[Frame], bytes_at_most: int) -> None:
    with tifffile.TiffWriter(target, bigtiff=bytes_at_most > 2**32 - 2**25) as tiff:
        for frame in frames:
            texts = {
                int(code): value
                for code, value in frame.exif.items()
                if isinstance(value, str) and code not in STRUCTURE and not value.startswith('{"shape": ')  # tifffile's
            }
            tiff.write(
                frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha]),
                photometric="rgb",
                extrasamples=None if frame.alpha is None else ["unassalpha"],
                compression="zlib",
                predictor=True,
                iccprofile=frame.profile,
                resolution=frame.info.get("dpi"),
                resolutionunit="INCH" if frame.info.get("dpi") else None,
                software=False,
                metadata=None,
                extratags=[(code, "s", 0, text, True) for code, text in texts.items()],
            )


def _write_deep_png(target: Source, frame: Frame) -> None:
    array = frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha])
    encoded = imagecodecs.png_encode(array)
    chunks = b""
    if frame.profile:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(frame.profile))
    if dpi := frame.info.get("dpi"):
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(float(each) / 0.0254) for each in dpi), 1))
    if frame.exif:
        chunks += _chunk(b"eXIf", frame.exif.tobytes().removeprefix(b"Exif\0\0"))
    head = len(b"\x89PNG\r\n\x1a\n") + 25  # the signature and the header's chunk, after which these stand
    content = encoded[:head] + chunks + encoded[head:]
    target.write(content) if isinstance(target, io.BytesIO) else target.write_bytes(content)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _write_with_pillow(target: Source, frames: Iterator[Frame], format: str) -> None:
    first = next(frames)
    durations = [first.info.get("duration", 0)]

    def later() -> Iterator[Image.Image]:
        for frame in frames:
            durations.append(frame.info.get("duration", 0))
            yield _image(frame, format)

    options = {"exif": first.exif.tobytes() if first.exif else None, "icc_profile": first.profile}
    options |= {key: first.info.get(key) for key in ("dpi", "loop", "xmp", "comment")}
    if rest := list(later()):
        clear = {"disposal": 2} if format == "GIF" and first.alpha is not None else {}
        options |= {"save_all": True, "append_images": rest, "duration": durations, **clear}
    given = {key: value for key, value in options.items() if value is not None}
    _image(first, format).save(target, format, **given, **QUALITY.get(format, {}))


def _image(frame: Frame, format: str) -> Image.Image:
    picture = Image.fromarray(frame.pixels)
    if frame.alpha is None:
        return picture
    alpha = Image.fromarray(frame.alpha)
    if format in OPAQUE:
        return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)
    picture.putalpha(alpha)
    return picture
