"""What a picture file holds."""

import io
import os
import struct
import zlib
from itertools import product
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from pictures import kinds_of_jpeg, swap_primaries
from PIL import Image, ImageCms

from colorlab.data import decoding
from colorlab.data.decoding import PictureFile, _read_plain_jpeg, read_photograph
from colorlab.data.images import SAMPLES
from colorlab.data.profiles import SRGB, space_of

MACAW = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"


@pytest.fixture(scope="module")
def macaw() -> Image.Image:
    return Image.open(MACAW).convert("RGB")


def read(path: Path) -> np.ndarray:
    return read_photograph(path).permute(1, 2, 0).numpy()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_give_the_very_pixels(macaw: Image.Image, tmp_path: Path, suffix: str) -> None:
    macaw.save(tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read(tmp_path / f"x.{suffix}"), np.asarray(macaw))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(macaw: Image.Image, tmp_path: Path, orientation: int) -> None:
    turned = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
              5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
              8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = macaw if orientation == 1 else macaw.transpose(turned[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read(tmp_path / "x.png"), np.asarray(macaw))


def test_gray_and_palette_files_become_rgb(macaw: Image.Image, tmp_path: Path) -> None:
    macaw.convert("L").save(tmp_path / "gray.png")
    assert np.array_equal(read(tmp_path / "gray.png"), np.asarray(macaw.convert("L").convert("RGB")))
    macaw.quantize(256).save(tmp_path / "palette.png")
    assert psnr(read(tmp_path / "palette.png"), np.asarray(macaw)) > 28
    assert read(tmp_path / "palette.png").shape == read(MACAW).shape


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
    pixels = read(tmp_path / "x.png")
    assert (pixels[:40, :40] == 255).all()
    assert (pixels[60:] < 255).any()


def test_cmyk_files_become_the_colors_they_were(macaw: Image.Image, tmp_path: Path) -> None:
    macaw.convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert psnr(read(tmp_path / "x.jpg"), np.asarray(macaw)) > 28


def test_16_bit_files_keep_their_upper_8_bits(macaw: Image.Image, tmp_path: Path) -> None:
    pixels = np.asarray(macaw)
    deep = pixels.astype(np.uint16) * 256 + 17
    tifffile.imwrite(tmp_path / "rgb.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "gray.tif", deep[..., 0])
    tifffile.imwrite(tmp_path / "ink.tif", ~deep[..., 0], photometric="miniswhite")
    (tmp_path / "rgb.png").write_bytes(png16(deep))
    Image.fromarray(deep[..., 1]).save(tmp_path / "gray.png")
    assert np.array_equal(read(tmp_path / "rgb.tif"), pixels)
    assert np.array_equal(read(tmp_path / "planes.tif"), pixels)
    assert np.array_equal(read(tmp_path / "rgb.png"), pixels)
    assert np.array_equal(read(tmp_path / "gray.tif"), pixels[..., [0, 0, 0]])
    assert np.array_equal(read(tmp_path / "ink.tif"), pixels[..., [0, 0, 0]])
    assert np.array_equal(read(tmp_path / "gray.png"), pixels[..., [1, 1, 1]])


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize(
    ("mode", "photometric", "extra"),
    [("CMYK", "separated", None), ("CMYK with a profile", "separated", None), ("RGB", "rgb", None),
     ("RGBA", "rgb", "unassalpha"), ("RGBa", "rgb", "assocalpha"), ("RGBX", "rgb", "unspecified"),
     ("LA", "minisblack", "unassalpha"), ("La", "minisblack", "assocalpha"), ("LX", "minisblack", "unspecified")],
)  # fmt: skip
def test_a_tiff_of_16_bits_shows_what_it_does_in_8(
    macaw: Image.Image, tmp_path: Path, mode: str, photometric: str, extra: str | None, planes: str
) -> None:
    """Which Pillow reads: inks, alpha that colors were multiplied by, and a channel of no meaning, too."""
    stored = stored_in(mode, macaw)
    options = {"photometric": photometric, "extrasamples": extra and [extra]}
    options["iccprofile"] = ink_profile() if "profile" in mode else None
    path, reference = tmp_path / "x.tif", tmp_path / "reference.tif"
    tifffile.imwrite(reference, stored, planarconfig="contig", **options)
    deep = stored.astype(np.uint16) * 257
    deep = np.moveaxis(deep, -1, 0) if planes == "separate" else deep
    tifffile.imwrite(path, deep, planarconfig=planes, **options)
    assert np.abs(read(path).astype(int) - read(reference)).max() <= 1
    (frame,), (known,) = PictureFile.of(path).frames(), PictureFile.of(reference).frames()
    shown = slice(None) if known.alpha is None else known.alpha > 0
    known_pixels = known.pixels / (257 if known.pixels.dtype == np.uint16 else 1)
    assert frame.pixels.dtype == np.uint16
    assert np.abs(frame.pixels / 257 - known_pixels)[shown].max() <= 1
    assert (frame.alpha is None) == (known.alpha is None)
    assert frame.alpha is None or np.array_equal(frame.alpha, known.alpha * np.uint16(257))


def stored_in(mode: str, picture: Image.Image) -> np.ndarray:
    """A picture's values in a mode, [H, W, C], with alpha of several strengths in its last channel if it has one."""
    bands = np.asarray(picture.convert({"L": "L", "R": "RGB", "C": "CMYK"}[mode[0]]))
    bands = bands[..., None] if bands.ndim == 2 else bands
    if mode in ("RGB", "CMYK", "CMYK with a profile"):
        return bands
    height, width = bands.shape[:2]
    alpha = np.tile(np.resize(np.repeat([0, 51, 128, 255], 40), (width, 1)).astype(np.uint8), (height, 1, 1))
    if mode.endswith("a"):
        bands = (bands * (alpha / 255)).round().astype(np.uint8)
    return np.concatenate([bands, alpha], axis=-1)


def ink_profile() -> bytes:
    """A profile for CMYK, which no library at hand makes: two points an ink, each leading to a color in Lab."""
    lab = []
    for cyan, magenta, yellow, black in product((0, 1), repeat=4):
        lightness = 100 * (1 - black) * (1 - 0.2 * (cyan + magenta + yellow))
        a, b = 60 * (magenta - cyan) * (1 - black), 60 * (yellow - 0.5 * (cyan + magenta)) * (1 - black)
        lab += [round(lightness * 652.8), round((a + 128) * 256), round((b + 128) * 256)]
    straight = (0, 65535)
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int).ravel() << 16))
    table += struct.pack(">2H8H48H6H", 2, 2, *straight * 4, *lab, *straight * 3)
    white = struct.pack(">3i", 63190, 65536, 54061)
    head = bytes([2, 64, 0, 0]) + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28) + white + bytes(48)
    body = bytes(4) + head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    return struct.pack(">I", len(body) + 4) + body


def test_ink_on_white_is_turned_round_and_its_alpha_is_not(tmp_path: Path) -> None:
    ink, alpha = np.array([[0, 300, 65535]], np.uint16), np.array([[65535, 20000, 0]], np.uint16)
    stored = np.dstack([ink, alpha])
    tifffile.imwrite(path := tmp_path / "x.tif", stored, photometric="miniswhite", extrasamples=["unassalpha"])
    (frame,) = PictureFile.of(path).frames()
    assert np.array_equal(frame.pixels, 65535 - ink)
    assert np.array_equal(frame.alpha, alpha)


def test_a_fourth_channel_without_a_word_of_it_is_alpha_as_in_8_bits(macaw: Image.Image, tmp_path: Path) -> None:
    stored, read_as = stored_in("RGBA", macaw), []
    for pixels in (stored, stored.astype(np.uint16) * 257):
        tifffile.imwrite(path := tmp_path / "x.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
        said, other = struct.pack("<HHI", 338, 3, 1), struct.pack("<HHI", 337, 3, 1)
        path.write_bytes(path.read_bytes().replace(said, other))
        read_as.append(read(path))
    assert (read_as[0][:, :40] == 255).all()
    assert np.abs(read_as[0].astype(int) - read_as[1]).max() <= 1


DEEP = np.full((16, 16), 500, np.uint16)
MIXED = {"photometric": "minisblack", "planarconfig": "contig"}
REFUSED = [
    ("CIELAB is not read", [(np.dstack([DEEP] * 3), {"photometric": "cielab"})]),
    ("PALETTE is not read", [(DEEP, {"photometric": "palette", "colormap": np.zeros((3, 2**16), np.uint16)})]),
    ("CFA is not read", [(DEEP, {"photometric": "cfa"})]),
    ("other bits than the first", [(DEEP, {}), (DEEP.astype(np.float32), {})]),
    ("other bits than the first", [(DEEP, {}), (DEEP.astype(np.uint8), {})]),
    ("more than colors and alpha", [(np.dstack([DEEP] * 3), MIXED)]),
    ("more than colors and alpha", [(np.dstack([DEEP] * 5), {**MIXED, "photometric": "rgb"})]),
    ("more than colors and alpha", [(np.stack([DEEP] * 4), {"volumetric": True, "tile": (4, 16, 16)})]),
]


@pytest.mark.parametrize(("reason", "pages"), REFUSED)
def test_a_deep_tiff_of_what_is_not_known_is_refused(
    tmp_path: Path, reason: str, pages: list[tuple[np.ndarray, dict]]
) -> None:
    with tifffile.TiffWriter(path := tmp_path / "x.tif") as tiff:
        for page, options in pages:
            tiff.write(page, **{"photometric": "minisblack", **options})
    with pytest.raises(ValueError, match=reason):
        list(PictureFile.of(path).frames())


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


def test_an_icc_profile_is_honored(macaw: Image.Image, tmp_path: Path) -> None:
    """The same numbers under another profile are other colors; under sRGB's they stay."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    macaw.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert np.array_equal(read(tmp_path / "srgb.png"), np.asarray(macaw))
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    assert ImageCms.applyTransform(macaw, to_lab).mode == "LAB"
    swapped = swap_primaries(srgb)
    macaw.save(tmp_path / "swapped.png", icc_profile=swapped)
    assert np.abs(read(tmp_path / "swapped.png").astype(int) - np.asarray(macaw)[..., [2, 1, 0]]).max() <= 3


def test_a_profile_is_srgb_by_its_colors_not_by_its_name(macaw: Image.Image, tmp_path: Path) -> None:
    """As "GIMP built-in Linear sRGB" is none, nor "D65 Grayscale with sRGB TRC"; and a nameless one may be."""
    srgb, gray = SRGB, imagecodecs.cms_profile("gray", gamma=1.0)
    unnamed = srgb.replace("sRGB".encode("utf-16-be"), "c2ci".encode("utf-16-be"))
    named = gray.replace("gray".encode("utf-16-be"), "sRGB".encode("utf-16-be"))
    assert unnamed != srgb
    assert named != gray
    assert space_of(unnamed) is None
    assert space_of(swap_primaries(srgb)).name == "rgb"
    for name, profile in {"gray": gray, "named": named}.items():
        macaw.convert("L").save(tmp_path / f"{name}.png", icc_profile=profile)
    assert np.array_equal(read(tmp_path / "named.png"), read(tmp_path / "gray.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_gray_icc_profile_is_honored(macaw: Image.Image, tmp_path: Path, suffix: str) -> None:
    """Values in linear light, as the profile says, are lighter than they look."""
    gray = np.asarray(macaw.convert("L")) / 255
    linear = np.where(gray <= 0.04045, gray / 12.92, ((gray + 0.055) / 1.055) ** 2.4)
    profile = imagecodecs.cms_profile("gray", gamma=1.0)
    stored = Image.fromarray(np.rint(linear * 255).astype(np.uint8))
    stored.save(tmp_path / f"x.{suffix}", icc_profile=profile, **({"quality": 100} if suffix == "jpg" else {}))
    light = gray > 0.3  # where 8 bits in linear light are enough
    assert np.abs(read(tmp_path / f"x.{suffix}")[light] / 255 - gray[light][:, None]).max() < 0.02


@pytest.mark.parametrize("mode", ["LA", "La", "P", "PA", "L with a transparent color", "P with a transparent color"])
def test_a_gray_icc_profile_is_honored_in_every_mode(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    """With alpha and with a palette it shows what the same values show without."""
    gray, profile = macaw.convert("L"), imagecodecs.cms_profile("gray", gamma=1.0)
    gray.save(tmp_path / "plain.png", icc_profile=profile)
    name, _, transparent = mode.partition(" ")
    path = tmp_path / ("x.tif" if name in ("La", "PA") else "x.png")
    if name == "La":  # which Pillow does not write
        opaque = np.asarray(gray.convert("LA"))
        tifffile.imwrite(path, opaque, photometric="minisblack", extrasamples=["assocalpha"], iccprofile=profile)
    else:
        gray.convert(name).save(path, icc_profile=profile, **({"transparency": 255} if transparent else {}))
    expected = read(tmp_path / "plain.png")
    assert np.array_equal(read(path), expected)
    (frame,) = PictureFile.of(path).frames()
    assert np.abs(frame.pixels / 257 - expected).max() <= 1


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
    assert np.array_equal(read(path)[..., 0], values >> 4)
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
    assert (read(path) == 255).all()
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
    assert np.abs(read(path) - (pixels if pixels.ndim == 3 else pixels[..., None])).max() <= 1


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
    assert (read(path) == 0).all()
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
    for kind, content in kinds_of_jpeg(macaw).items():
        path = tmp_path / f"{kind}.jpg"
        path.write_bytes(content)
        assert (_read_plain_jpeg(content) is None) == (kind in LEFT_TO_PILLOW), kind
        found = read(path)
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "simplejpeg", None)
            expected = read(path)
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
