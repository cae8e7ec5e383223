"""The frames of picture files, in all depths and formats."""

import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from colorlab.images.decoding import read_photograph
from colorlab.images.frames import PictureFile
from support.image_files import read_pixels


def encode_16_bit_png(*frames: np.ndarray) -> bytes:
    """Encode a 16-bit PNG in gray or RGB, animated if there are several frames; Pillow writes neither."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = frames[0].shape[:2]
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if frames[0].ndim == 3 else 0, 0, 0, 0))
    content += chunk(b"acTL", struct.pack(">II", len(frames), 0)) if len(frames) > 1 else b""
    for index, pixels in enumerate(frames):
        if len(frames) > 1:
            control = struct.pack(">5I2H2B", max(0, 2 * index - 1), width, height, 0, 0, 1, 10, 0, 0)
            content += chunk(b"fcTL", control)
        lines = zlib.compress(b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels))
        content += chunk(b"fdAT", struct.pack(">I", 2 * index) + lines) if index else chunk(b"IDAT", lines)
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


def overwrite(path: Path, **values: int) -> None:
    """Overwrite the values of a TIFF's tags."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in values.items():
            tiff.pages.first.tags[name].overwrite(value)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_each_frame_of_a_16_bit_png_is_decoded(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    pixels = np.asarray(macaw.convert(mode))
    frames = [pixels, pixels[::-1], 255 - pixels]
    path = tmp_path / "x.png"
    path.write_bytes(encode_16_bit_png(*(frame.astype(np.uint16) * 257 for frame in frames)))
    file = PictureFile.of(path)
    assert (file.count, file.deep) == (3, False)
    for found, frame in zip(file.frames(), frames, strict=True):
        assert np.array_equal(found.pixels, frame * np.uint16(257) if found.pixels.dtype == np.uint16 else frame)
    path.write_bytes(encode_16_bit_png(frames[0].astype(np.uint16) * 256 + 17))
    (found,) = PictureFile.of(path).frames()
    assert PictureFile.of(path).deep
    assert np.array_equal(found.pixels, frames[0].astype(np.uint16) * 256 + 17)


def test_12_bits_are_scaled_to_16(tmp_path: Path) -> None:
    """Also 16 bits of MINISWHITE on a page after one of 8 bits, which Pillow reads."""
    values = np.array([[0, 1, 2048, 4095], [4094, 256, 15, 16]], np.uint16)
    packed = np.stack(
        [values[:, ::2] >> 4, (values[:, ::2] & 15) << 4 | values[:, 1::2] >> 8, values[:, 1::2] & 255], -1
    )
    tifffile.imwrite(path := tmp_path / "x.tif", packed.reshape(2, 6).astype(np.uint8), photometric="minisblack")
    overwrite(path, ImageWidth=4, BitsPerSample=12)
    file = PictureFile.of(path)
    (frame,) = file.frames()
    assert file.deep
    assert np.array_equal(frame.pixels, np.rint(values * (65535 / 4095)))
    assert np.array_equal(read_pixels(path)[..., 0], values >> 4)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((2, 4), np.uint8), photometric="minisblack")
        tiff.write(values << 4, photometric="miniswhite")
    _, frame = PictureFile.of(path).frames()
    assert np.array_equal(frame.pixels, 65535 - (values << 4))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_coloring_and_training_decode_the_same_picture(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    """In every mode, with an ICC profile, rotated; with 16 bits on the way to sRGB, up to a level may differ."""
    exif = Image.Exif()
    exif[0x0112] = 8
    picture = macaw.quantize(256) if mode == "P" else macaw.convert(mode)
    profile = imagecodecs.cms_profile("gray", gamma=1.8) if mode in ("L", "LA") else imagecodecs.cms_profile("adobergb")
    picture.save(path := tmp_path / "x.tif", icc_profile=profile, exif=exif)
    (frame,) = PictureFile.of(path).frames()
    pixels = (frame.pixels / 257 if frame.pixels.dtype == np.uint16 else frame.pixels).astype(float)
    assert pixels.shape[:2] == macaw.size
    assert np.abs(read_pixels(path) - (pixels if pixels.ndim == 3 else pixels[..., None])).max() <= 1


def test_a_pipe_is_refused_instead_of_read(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe.png")
    with pytest.raises(OSError, match="not a regular file"):
        PictureFile.of(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_small_picture_with_a_huge_tile_is_a_bomb(tmp_path: Path, dtype: type) -> None:
    """Pillow and tifffile decode tiles whole, so the size of the file is that of the tile."""
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((16, 16, 3), dtype), photometric="rgb", tile=(16, 16), compression="zlib")
    assert PictureFile.of(path).size == (16, 16)
    assert (read_pixels(path) == 0).all()
    overwrite(path, TileWidth=20_000, TileLength=19_984)
    assert PictureFile.of(path).size == (20_000, 19_984)
    with pytest.raises(Image.DecompressionBombError, match="20000×19984 pixels"):
        read_photograph(path)
