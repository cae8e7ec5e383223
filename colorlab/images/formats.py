"""The file formats of pictures: which files of a folder are taken, and what each format can hold."""

from typing import Any

PHOTOGRAPH_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
"""The files of a folder that are photographs to train on."""

PICTURE_SUFFIXES = PHOTOGRAPH_SUFFIXES | {".avif", ".gif", ".jp2", ".pgm", ".pnm", ".ppm", ".tga"}
"""The files of a folder that are pictures to color."""

DEEP = ("PNG", "TIFF")
"""Formats that are written with 16 bits per channel."""

ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")
"""Formats that are written with several frames."""

OPAQUE = ("BMP", "JPEG", "PPM")
"""Formats that are written without alpha."""

QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},  # color at full resolution: it is what was asked for
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
}
