"""Picture files for coloring: opened within a limit of size, and written with all that belongs to them.

The format, the frames and their durations, the alpha, 16 bits (in PNG and TIFF), EXIF, the resolution and
the ICC profile are kept: a picture is colored in sRGB and then converted back to its own RGB space. A profile
for gray or CMYK, or one that only converts from its space, as a scanner's may, is replaced by sRGB's. Texts
and metadata in a TIFF's own directory are kept; beyond 4 GB, its EXIF and GPS directories are left out.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from colorlab.errors import UserError
from colorlab.images.formats import ANIMATED, DEEP, OPAQUE, QUALITY
from colorlab.images.frames import Frame, PictureFile
from colorlab.images.pillow import Source
from colorlab.images.pixels import over_white, to_depth
from colorlab.images.profiles import from_srgb
from colorlab.images.tiff import pages_of

MEGAPIXELS = 200.0
"""Larger frames, or more pixels in all frames held at a time, are refused as decompression bombs."""


def open_picture(source: Source, megapixels: float = MEGAPIXELS) -> PictureFile:
    """Read the header of a picture file.

    Raises:
        UserError: the file is not a picture, or is larger than `megapixels`.
        OSError: the file cannot be read.
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
    """Choose the format of a colored file, by Pillow's name.

    Args:
        file: the original.
        suffix: of the new file, which decides; None keeps the original's format where it can hold the colored
            frames, and takes PNG otherwise.

    Raises:
        UserError: no format has this suffix, or the format holds one frame and there are more.
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
        target: a file, which is overwritten in place, or a buffer.
        file: the original.
        frames: in the order of the file. For a TIFF they are consumed and written one at a time; for
            other formats, Pillow holds all of them.
        format: returned by `format_to_write`.

    Raises:
        OSError: the file cannot be written.
    """
    converted = (_in_own_space(frame, file.deep and format in DEEP) for frame in frames)
    if format == "TIFF":
        _write_tiff(target, converted, max_bytes=file.count * prod(file.size) * 8)
    elif format == "PNG" and file.deep and file.count == 1:
        _write_deep_png(target, next(converted))
    else:
        _write_with_pillow(target, converted, format)


def _in_own_space(frame: Frame, deep: bool) -> Frame:
    """Convert a colored frame from sRGB to its profile's space, and to 16 bits or 8."""
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    pixels, profile = from_srgb(frame.pixels, frame.profile, dtype)
    alpha = None if frame.alpha is None else to_depth(frame.alpha, dtype)
    return frame._replace(pixels=to_depth(pixels, dtype), alpha=alpha, profile=profile)


def _with_alpha(frame: Frame) -> np.ndarray:
    return frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha])


_LAYOUT_TAGS = {
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 297, 301, 317, 318, 319,
    320, 321, 322, 323, 324, 325, 330, 332, 333, 338, 339, 340, 341, 347, 529, 530, 531, 532, 282, 283, 296, 34675,
}  # fmt: skip
"""Tags of a TIFF that describe the layout of its pixels; the new file has its own."""

_BYTE_TAGS = (700, 33723, 34377, *range(40091, 40096))
"""Tags of a TIFF that are kept though they are not texts: XMP, IPTC, Photoshop's, and those that Windows shows."""

_DIRECTORY_TAGS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""Tags that point to a directory. tifffile cannot write these: the tag with the preceding number, which has no
meaning, is written as a placeholder and replaced later."""


def _write_tiff(target: Source, frames: Iterable[Frame], max_bytes: int) -> None:
    big = max_bytes > 2**32 - 2**25
    directories: list[dict[int, dict]] = []  # of each page
    with tifffile.TiffWriter(target, bigtiff=big, byteorder="<") as tiff:
        for frame in frames:
            directories.append({} if big else _exif_directories(frame.exif))
            tiff.write(
                _with_alpha(frame),
                photometric="rgb",
                extrasamples=None if frame.alpha is None else ["unassalpha"],
                compression="zlib",
                predictor=True,
                iccprofile=frame.profile,
                resolution=frame.info.get("dpi"),
                resolutionunit="INCH" if frame.info.get("dpi") else None,
                software=False,
                metadata=None,
                extratags=[*_tags(frame), *((code - 1, "I", 1, 0, True) for code in directories[-1])],
            )
    if any(directories):
        _append_directories(target, directories)


def _tags(frame: Frame) -> Iterator[tuple]:
    """Yield the tags of a TIFF's own directory, as tifffile takes them."""
    tags = {**dict(frame.exif), 700: frame.exif.get(700, frame.info.get("xmp"))}
    for code, value in tags.items():
        if isinstance(value, str) and code not in _LAYOUT_TAGS and not value.startswith('{"shape": '):  # tifffile's own
            yield (int(code), "s", 0, value, True)
        elif isinstance(value, bytes) and code in _BYTE_TAGS:
            yield (int(code), "B", len(value), value, True)


def _exif_directories(exif: Image.Exif) -> dict[int, dict]:
    """Return the EXIF and GPS directories of a picture, by the tags that point to them."""
    found = {int(tag): dict(exif.get_ifd(tag)) for tag in _DIRECTORY_TAGS if tag in exif}
    if (interop := ExifTags.IFD.Interop) in found.get(ExifTags.IFD.Exif, {}):
        found[ExifTags.IFD.Exif][interop] = exif.get_ifd(interop)
    return {tag: directory for tag, directory in found.items() if directory}


def _append_directories(target: Source, directories: list[dict[int, dict]]) -> None:
    """Append the directories of each page to a TIFF, and point the placeholder tags to them."""
    with tifffile.TiffFile(target, mode="r+") as tiff:
        for page, of_page in zip(pages_of(tiff), directories, strict=True):
            for code, values in of_page.items():
                directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0", group=code)
                for tag, value in values.items():
                    directory[tag] = value
                placeholder, file = page.tags[code - 1], tiff.filehandle
                offset = file.seek(0, io.SEEK_END)
                file.write(directory.tobytes(offset))
                file.seek(placeholder.offset)
                file.write(struct.pack("<HHII", code, 4, 1, offset))


def _write_deep_png(target: Source, frame: Frame) -> None:
    encoded = imagecodecs.png_encode(_with_alpha(frame))
    chunks = b""
    if frame.profile:
        chunks += _png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(frame.profile))
    if dpi := frame.info.get("dpi"):
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", *(round(float(each) / 0.0254) for each in dpi), 1))
    if exif := _upright_exif(frame):
        chunks += _png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    header = len(b"\x89PNG\r\n\x1a\n") + 25  # the signature and the IHDR chunk, after which these chunks belong
    content = encoded[:header] + chunks + encoded[header:]
    target.write(content) if isinstance(target, io.BytesIO) else target.write_bytes(content)


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _write_with_pillow(target: Source, frames: Iterator[Frame], format: str) -> None:
    first = next(frames)
    durations, rest = [first.info.get("duration", 0)], []
    for frame in frames:
        durations.append(frame.info.get("duration", 0))
        rest.append(_pillow_image(frame, format))
    options: dict[str, Any] = {"exif": _upright_exif(first), "icc_profile": first.profile}
    options |= {key: first.info.get(key) for key in ("dpi", "loop", "xmp", "comment")}
    if rest:
        options |= {"save_all": True, "append_images": rest, "duration": durations}
        if format == "GIF" and first.alpha is not None:
            options["disposal"] = 2  # clear each frame before the next
    given = {key: value for key, value in options.items() if value is not None}
    _pillow_image(first, format).save(target, format, **given, **QUALITY.get(format, {}))


def _upright_exif(frame: Frame) -> bytes | None:
    """Return the EXIF of a frame with the orientation of its pixels, which are upright."""
    if ExifTags.Base.Orientation in frame.exif:
        frame.exif[ExifTags.Base.Orientation] = 1
    return frame.exif.tobytes() if frame.exif else None


def _pillow_image(frame: Frame, format: str) -> Image.Image:
    if frame.alpha is not None and format in OPAQUE:
        return Image.fromarray(over_white(frame.pixels, frame.alpha))
    return Image.fromarray(_with_alpha(frame))
