"""Picture files: looked into, and written back in color with what belongs to them.

Kept are the format, the frames and how long each is shown, the alpha, 16 bits where they were (in PNG
and TIFF), EXIF, resolution and the ICC profile: a picture is colored in sRGB and then brought back to
its own RGB space. A profile for gray or CMYK, or one that only leads out of its space, as a scanner's
may, fits no colored picture: sRGB's takes its place. Of a TIFF's own directory the texts are kept, and
what else says something of the picture; beyond 4 GB its directories of EXIF and GPS are left out.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import prod
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from colorlab.data.photographs import SUFFIXES as PHOTOGRAPHS
from colorlab.errors import UserError
from colorlab.images.decoding import Frame, PictureFile, Source
from colorlab.images.profiles import SRGB, space_of

SUFFIXES = PHOTOGRAPHS | {".avif", ".gif", ".jp2", ".pgm", ".pnm", ".ppm", ".tga"}
"""The files that are taken from a folder."""

MEGAPIXELS = 200.0
"""A frame of more, or more in all frames that are held at a time, is taken for a decompression bomb."""

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


def open_picture(source: Source, megapixels: float = MEGAPIXELS) -> PictureFile:
    """Look what a file holds.

    Raises:
        UserError: it is no picture, or one too large.
        OSError: it cannot be read.
    """
    try:
        file = PictureFile.of(source)
    except UnidentifiedImageError as error:
        raise UserError("it is not a picture that can be read") from error
    width, height = file.size
    if width * height > megapixels * 1e6:
        raise UserError(f"it unpacks to {width}×{height} pixels: if they are meant, raise --megapixels={megapixels:g}")
    return file


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
    pixels, profile = frame.pixels, frame.profile
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    if space_of(profile) is not None:
        if _leads_back(profile):
            pixels = imagecodecs.cms_transform(
                pixels, SRGB, profile, colorspace="rgb", outcolorspace="rgb", outdtype=dtype
            )
        else:
            profile = SRGB
    return frame._replace(pixels=_as(pixels, dtype), alpha=_as(frame.alpha, dtype), profile=profile)


@lru_cache(maxsize=16)
def _leads_back(profile: bytes) -> bool:
    """Whether colors in sRGB can be brought into the space of a profile."""
    if space_of(profile).name != "rgb":
        return False
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), own, "RGB", "RGB") is not None
    except ImageCms.PyCMSError:
        return False


def _as(values: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
    if values is None or values.dtype == dtype:
        return values
    return values.astype(np.uint16) * 257 if dtype == np.uint16 else ((values + np.uint32(128)) // 257).astype(np.uint8)


STRUCTURE = {  # tags of a TIFF that say how its pixels lie; a new file has its own
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 297, 301, 317, 318, 319,
    320, 321, 322, 323, 324, 325, 330, 332, 333, 338, 339, 340, 341, 347, 529, 530, 531, 532, 282, 283, 296, 34675,
}  # fmt: skip
BYTES = (700, 33723, 34377, *range(40091, 40096))
"""Tags of a TIFF that are kept though they are no texts: XMP, IPTC, Photoshop's, and those that Windows shows."""

PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""Tags that point to a directory of its own. As tifffile writes none, the tag before it, which means nothing, keeps
the place."""


def _write_tiff(target: Source, frames: Iterable[Frame], bytes_at_most: int) -> None:
    big = bytes_at_most > 2**32 - 2**25
    below: list[dict[int, dict]] = []  # of each page
    with tifffile.TiffWriter(target, bigtiff=big, byteorder="<") as tiff:
        for frame in frames:
            below.append({} if big else _directories(frame.exif))
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
                extratags=[*_tags(frame), *((code - 1, "I", 1, 0, True) for code in below[-1])],
            )
    if any(below):
        _write_directories(target, below)


def _tags(frame: Frame) -> Iterator[tuple]:
    """What a TIFF's own directory tells of a picture, as tifffile takes it."""
    told = {**dict(frame.exif), 700: frame.exif.get(700, frame.info.get("xmp"))}
    for code, value in told.items():
        if isinstance(value, str) and code not in STRUCTURE and not value.startswith('{"shape": '):  # tifffile's
            yield (int(code), "s", 0, value, True)
        elif isinstance(value, bytes) and code in BYTES:
            yield (int(code), "B", len(value), value, True)


def _directories(exif: Image.Exif) -> dict[int, dict]:
    found = {int(part): dict(exif.get_ifd(part)) for part in PARTS if part in exif}
    if (interop := ExifTags.IFD.Interop) in found.get(ExifTags.IFD.Exif, {}):
        found[ExifTags.IFD.Exif][interop] = exif.get_ifd(interop)
    return {part: directory for part, directory in found.items() if directory}


def _write_directories(target: Source, below: list[dict[int, dict]]) -> None:
    """Put each page's directories behind all else, and lead its tags to them."""
    with tifffile.TiffFile(target, mode="r+") as tiff:
        for page, directories in zip(tiff.pages, below, strict=True):
            for code, values in directories.items():
                directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0", group=code)
                for tag, value in values.items():
                    directory[tag] = value
                tag, file = page.tags[code - 1], tiff.filehandle
                where = file.seek(0, io.SEEK_END)
                file.write(directory.tobytes(where))
                file.seek(tag.offset)
                file.write(struct.pack("<HHII", code, 4, 1, where))


def _write_deep_png(target: Source, frame: Frame) -> None:
    array = frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha])
    encoded = imagecodecs.png_encode(array)
    chunks = b""
    if frame.profile:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(frame.profile))
    if dpi := frame.info.get("dpi"):
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(float(each) / 0.0254) for each in dpi), 1))
    if exif := _upright_exif(frame):
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
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

    rest = list(later())
    options = {"exif": _upright_exif(first), "icc_profile": first.profile}
    options |= {key: first.info.get(key) for key in ("dpi", "loop", "xmp", "comment")}
    if rest:
        clear = {"disposal": 2} if format == "GIF" and first.alpha is not None else {}
        options |= {"save_all": True, "append_images": rest, "duration": durations, **clear}
    given = {key: value for key, value in options.items() if value is not None}
    _image(first, format).save(target, format, **given, **QUALITY.get(format, {}))


def _upright_exif(frame: Frame) -> bytes | None:
    """EXIF of a frame, which is no longer to be turned."""
    if ExifTags.Base.Orientation in frame.exif:
        frame.exif[ExifTags.Base.Orientation] = 1
    return frame.exif.tobytes() if frame.exif else None


def _image(frame: Frame, format: str) -> Image.Image:
    picture = Image.fromarray(frame.pixels)
    if frame.alpha is None:
        return picture
    alpha = Image.fromarray(frame.alpha)
    if format in OPAQUE:
        return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)
    picture.putalpha(alpha)
    return picture
