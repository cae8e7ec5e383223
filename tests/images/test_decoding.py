"""Photographs decoded for training, in every format and variant."""

import io
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from colorlab.images import decoding
from colorlab.images.decoding import read_photograph
from colorlab.images.frames import Frame, read_frames
from support.image_files import MACAW, jpeg_variants, read_pixels


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_keep_every_pixel(macaw: Image.Image, tmp_path: Path, suffix: str) -> None:
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
def test_transparent_pixels_become_white(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
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


def test_cmyk_files_become_rgb(macaw: Image.Image, tmp_path: Path) -> None:
    macaw.convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert psnr(read_pixels(tmp_path / "x.jpg"), np.asarray(macaw)) > 28


def test_16_bit_files_keep_their_upper_8_bits(macaw: Image.Image, tmp_path: Path) -> None:
    pixels = np.asarray(macaw)
    deep = pixels.astype(np.uint16) * 256 + 17
    tifffile.imwrite(tmp_path / "rgb.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "gray.tif", deep[..., 0])
    tifffile.imwrite(tmp_path / "ink.tif", ~deep[..., 0], photometric="miniswhite")
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(deep))
    Image.fromarray(deep[..., 1]).save(tmp_path / "gray.png")
    assert np.array_equal(read_pixels(tmp_path / "rgb.tif"), pixels)
    assert np.array_equal(read_pixels(tmp_path / "planes.tif"), pixels)
    assert np.array_equal(read_pixels(tmp_path / "rgb.png"), pixels)
    assert np.array_equal(read_pixels(tmp_path / "gray.tif"), pixels[..., [0, 0, 0]])
    assert np.array_equal(read_pixels(tmp_path / "ink.tif"), pixels[..., [0, 0, 0]])
    assert np.array_equal(read_pixels(tmp_path / "gray.png"), pixels[..., [1, 1, 1]])


@pytest.mark.parametrize("value", [-1, 65536])
def test_gray_beyond_16_bits_is_refused_instead_of_clipped(tmp_path: Path, value: int) -> None:
    stored = np.full((3, 3), 65535, np.int32)
    tifffile.imwrite(path := tmp_path / "x.tif", stored, photometric="minisblack")
    assert (read_pixels(path) == 255).all()
    stored[1, 2] = value
    tifffile.imwrite(path, stored, photometric="minisblack")
    with pytest.raises(ValueError, match="no known white"):
        read_photograph(path)


@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_files_that_are_not_pictures_raise(tmp_path: Path, content: str) -> None:
    whole = MACAW.read_bytes()
    (tmp_path / "x.jpg").write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[content])
    with pytest.raises(Exception, match=r".+"):
        read_photograph(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_bomb_is_refused_even_if_the_program_has_lifted_pillows_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / f"bomb{suffix}"
    Image.new("L", (14_000, 14_000)).save(path)
    with pytest.raises(Image.DecompressionBombError, match="14000×14000 pixels"):
        read_photograph(path)


def test_unsafe_formats_are_not_decoded(macaw: Image.Image, tmp_path: Path) -> None:
    """EPS is a program that Ghostscript would run."""
    macaw.save(tmp_path / "program.jpg", "EPS")
    with pytest.raises(Image.UnidentifiedImageError):
        read_photograph(tmp_path / "program.jpg")


DECODED_BY_PILLOW = {"CMYK", "other profile", "spoiled"}


def test_every_variant_of_jpeg_is_decoded_as_pillow_decodes_it(
    macaw: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_pillow: list[bool] = []

    def counted(*args: object, **kwargs: object) -> Iterator[Frame]:
        by_pillow.append(True)
        return read_frames(*args, **kwargs)

    for kind, content in jpeg_variants(macaw).items():
        by_pillow.clear()
        path = tmp_path / f"{kind}.jpg"
        path.write_bytes(content)
        with monkeypatch.context() as patched:
            patched.setattr(
                decoding, "read_frames", lambda *args, **kw: by_pillow.append(1) or read_frames(*args, **kw)
            )
            found = read_pixels(path)
            assert bool(by_pillow) == (kind in DECODED_BY_PILLOW), kind
            patched.setattr(decoding, "simplejpeg", None)
            expected = read_pixels(path)
        assert found.shape == expected.shape, kind
        assert np.abs(found.astype(int) - expected).max() <= 1, kind  # 0 if both use the same build of libjpeg-turbo


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused(macaw: Image.Image, tmp_path: Path, progressive: bool) -> None:
    stored = io.BytesIO()
    macaw.save(stored, "jpeg", progressive=progressive)
    for share in (0.01, 0.3, 0.6, 0.95, 0.999):
        (tmp_path / "x.jpg").write_bytes(stored.getvalue()[: int(stored.tell() * share)])
        with pytest.raises(OSError, match=r"(?i)truncated|cannot identify"):
            read_photograph(tmp_path / "x.jpg")
