"""What a picture file holds."""

import io
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from colorlab.images import decoding
from colorlab.images.decoding import PictureFile, _read_plain_jpeg, read_photograph
from support.image_files import MACAW, jpeg_variants, read_pixels


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_give_the_very_pixels(macaw: Image.Image, tmp_path: Path, suffix: str) -> None:
    macaw.save(tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read_pixels(tmp_path / f"x.{suffix}"), np.asarray(macaw))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(macaw: Image.Image, tmp_path: Path, orientation: int) -> None:
    turned = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
              5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
              8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = macaw if orientation == 1 else macaw.transpose(turned[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_pixels(tmp_path / "x.png"), np.asarray(macaw))


def test_gray_and_palette_files_become_rgb(macaw: Image.Image, tmp_path: Path) -> None:
    macaw.convert("L").save(tmp_path / "gray.png")
    assert np.array_equal(read_pixels(tmp_path / "gray.png"), np.asarray(macaw.convert("L").convert("RGB")))
    macaw.quantize(256).save(tmp_path / "palette.png")
    assert psnr(read_pixels(tmp_path / "palette.png"), np.asarray(macaw)) > 28
    assert read_pixels(tmp_path / "palette.png").shape == read_pixels(MACAW).shape


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    alpha = Image.new("L", macaw.size, 255)
    alpha.paste(0, (0, 0, 40, 40))
    if mode == "P":
        picture = macaw.quantize(255)
        picture.paste(7, (0, 0, 40, 40))
        picture.save(tmp_path / "x.png", transparency=7)
    else:
        picture = macaw.convert(mode)
        picture.putalpha(alpha)
        picture.save(tmp_path / "x.png")
    pixels = read_pixels(tmp_path / "x.png")
    assert (pixels[:40, :40] == 255).all()
    assert (pixels[60:] < 255).any()


def test_cmyk_files_become_the_colors_they_were(macaw: Image.Image, tmp_path: Path) -> None:
    macaw.convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert psnr(read_pixels(tmp_path / "x.jpg"), np.asarray(macaw)) > 28


def test_16_bit_files_keep_their_upper_8_bits(macaw: Image.Image, tmp_path: Path) -> None:
    pixels = np.asarray(macaw)
    deep = pixels.astype(np.uint16) * 256 + 17
    tifffile.imwrite(tmp_path / "rgb.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "gray.tif", deep[..., 0])
    tifffile.imwrite(tmp_path / "ink.tif", ~deep[..., 0], photometric="miniswhite")
    (tmp_path / "rgb.png").write_bytes(png16(deep))
    Image.fromarray(deep[..., 1]).save(tmp_path / "gray.png")
    assert np.array_equal(read_pixels(tmp_path / "rgb.tif"), pixels)
    assert np.array_equal(read_pixels(tmp_path / "planes.tif"), pixels)
    assert np.array_equal(read_pixels(tmp_path / "rgb.png"), pixels)
    assert np.array_equal(read_pixels(tmp_path / "gray.tif"), pixels[..., [0, 0, 0]])
    assert np.array_equal(read_pixels(tmp_path / "ink.tif"), pixels[..., [0, 0, 0]])
    assert np.array_equal(read_pixels(tmp_path / "gray.png"), pixels[..., [1, 1, 1]])


def png16(*frames: np.ndarray) -> bytes:
    """A 16-bit PNG in gray or RGB, which may be animated; Pillow writes neither."""

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


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_frame_of_a_16_bit_png_is_its_own(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    pixels = np.asarray(macaw.convert(mode))
    frames = [pixels, pixels[::-1], 255 - pixels]
    path = tmp_path / "x.png"
    path.write_bytes(png16(*(frame.astype(np.uint16) * 257 for frame in frames)))
    file = PictureFile.of(path)
    assert (file.count, file.deep) == (3, False)
    for found, frame in zip(file.frames(), frames, strict=True):
        assert np.array_equal(found.pixels, frame * np.uint16(257) if found.pixels.dtype == np.uint16 else frame)
    path.write_bytes(png16(frames[0].astype(np.uint16) * 256 + 17))
    (found,) = PictureFile.of(path).frames()
    assert PictureFile.of(path).deep
    assert np.array_equal(found.pixels, frames[0].astype(np.uint16) * 256 + 17)


def test_12_bits_reach_white(tmp_path: Path) -> None:
    """And so does ink in 16 bits behind a page of 8, which Pillow reads."""
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


def overwrite(path: Path, **values: int) -> None:
    """Let a TIFF say something else of its pixels."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in values.items():
            tiff.pages.first.tags[name].overwrite(value)


@pytest.mark.parametrize("value", [-1, 65536])
def test_gray_beyond_16_bits_is_refused_and_not_clipped(tmp_path: Path, value: int) -> None:
    stored = np.full((3, 3), 65535, np.int32)
    tifffile.imwrite(path := tmp_path / "x.tif", stored, photometric="minisblack")
    assert (read_pixels(path) == 255).all()
    stored[1, 2] = value
    tifffile.imwrite(path, stored, photometric="minisblack")
    with pytest.raises(ValueError, match="no known white"):
        read_photograph(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_coloring_and_training_read_the_same_picture(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    """In every mode, in a space of its own, on its side; 16 bits on the way to sRGB may differ by a level."""
    exif = Image.Exif()
    exif[0x0112] = 8
    picture = macaw.quantize(256) if mode == "P" else macaw.convert(mode)
    profile = imagecodecs.cms_profile("gray", gamma=1.8) if mode in ("L", "LA") else imagecodecs.cms_profile("adobergb")
    picture.save(path := tmp_path / "x.tif", icc_profile=profile, exif=exif)
    (frame,) = PictureFile.of(path).frames()
    pixels = (frame.pixels / 257 if frame.pixels.dtype == np.uint16 else frame.pixels).astype(float)
    assert pixels.shape[:2] == macaw.size
    assert np.abs(read_pixels(path) - (pixels if pixels.ndim == 3 else pixels[..., None])).max() <= 1


@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_what_is_no_picture_raises(tmp_path: Path, content: str) -> None:
    whole = MACAW.read_bytes()
    (tmp_path / "x.jpg").write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[content])
    with pytest.raises(Exception, match=r".+"):
        read_photograph(tmp_path / "x.jpg")


def test_what_is_in_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe.png")
    with pytest.raises(OSError, match="no regular file"):
        PictureFile.of(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_bomb_is_not_unpacked_though_pillows_limit_is_lifted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str
) -> None:
    """As the coloring command lifts it, which asks for the size itself."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / f"bomb{suffix}"
    Image.new("L", (14_000, 14_000)).save(path)
    with pytest.raises(Image.DecompressionBombError, match="14000×14000 pixels"):
        read_photograph(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_small_picture_of_a_huge_tile_is_a_bomb(tmp_path: Path, dtype: type) -> None:
    """It is unpacked whole, by Pillow as by tifffile; whoever asks for the size beforehand hears of it."""
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((16, 16, 3), dtype), photometric="rgb", tile=(16, 16), compression="zlib")
    assert PictureFile.of(path).size == (16, 16)
    assert (read_pixels(path) == 0).all()
    overwrite(path, TileWidth=20_000, TileLength=19_984)
    assert PictureFile.of(path).size == (20_000, 19_984)
    with pytest.raises(Image.DecompressionBombError, match="20000×19984 pixels"):
        read_photograph(path)


def test_formats_that_photographs_do_not_come_in_are_not_decoded(macaw: Image.Image, tmp_path: Path) -> None:
    """EPS is a program, and it is Ghostscript that would run it."""
    macaw.save(tmp_path / "program.jpg", "EPS")
    with pytest.raises(Image.UnidentifiedImageError):
        read_photograph(tmp_path / "program.jpg")


LEFT_TO_PILLOW = {"CMYK", "other profile", "spoiled"}


def test_every_kind_of_jpeg_is_read_as_pillow_reads_it(
    macaw: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, content in jpeg_variants(macaw).items():
        path = tmp_path / f"{kind}.jpg"
        path.write_bytes(content)
        assert (_read_plain_jpeg(content) is None) == (kind in LEFT_TO_PILLOW), kind
        found = read_pixels(path)
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "simplejpeg", None)
            expected = read_pixels(path)
        assert found.shape == expected.shape, kind
        assert np.abs(found.astype(int) - expected).max() <= 1, kind  # 0, were all builds of libjpeg-turbo one


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_refused(macaw: Image.Image, tmp_path: Path, progressive: bool) -> None:
    stored = io.BytesIO()
    macaw.save(stored, "jpeg", progressive=progressive)
    for share in (0.01, 0.3, 0.6, 0.95, 0.999):
        (tmp_path / "x.jpg").write_bytes(stored.getvalue()[: int(stored.tell() * share)])
        with pytest.raises(OSError, match=r"(?i)truncated|cannot identify"):
            read_photograph(tmp_path / "x.jpg")
