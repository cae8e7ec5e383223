"""What a colored picture file keeps of the original."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageSequence
from PIL.TiffImagePlugin import IFDRational

from colorlab.data.splits import SAMPLES
from colorlab.images.profiles import SRGB
from support.picture_checks import is_colored, lightness

PHOTOGRAPH = SAMPLES / "fishes_fish1.jpg"

ADOBE = imagecodecs.cms_profile("adobergb")

Colorize = Callable[..., int]


def test_exif_resolution_and_format_are_kept_and_pixels_are_upright(colorize: Colorize, gray: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    exif.get_ifd(0x8769)[0x9003] = "1932:05:01 12:00:00"
    gray.save("old.jpg", exif=exif, dpi=(300, 300))
    assert colorize("old.jpg", "-o", "new") == 0
    with Image.open("new/old.jpg") as colored:
        assert (colored.format, colored.mode, colored.size) == ("JPEG", "RGB", gray.size[::-1])
        assert colored.info["dpi"] == (300, 300)
        assert colored.getexif()[0x010F] == "a maker"
        assert colored.getexif()[0x0112] == 1
        assert colored.getexif().get_ifd(0x8769)[0x9003] == "1932:05:01 12:00:00"
        upright = np.asarray(gray.transpose(Image.Transpose.ROTATE_270))
        assert np.abs(lightness(np.asarray(colored)) - lightness(np.dstack([upright] * 3))).mean() < 2  # it is a JPEG
        assert is_colored(np.asarray(colored))


def test_an_rgb_profile_and_lightness_are_kept(colorize: Colorize) -> None:
    Image.open(PHOTOGRAPH).save("wide.png", icc_profile=ADOBE)
    assert colorize("wide.png", "-o", "new") == 0
    lab = []
    for name in ("wide.png", "new/wide.png"):
        with Image.open(name) as picture:
            assert picture.info["icc_profile"] == ADOBE
            to_srgb = ImageCms.profileToProfile(
                picture, ImageCms.ImageCmsProfile(io.BytesIO(ADOBE)), ImageCms.createProfile("sRGB")
            )
            lab.append(lightness(np.asarray(to_srgb)))
    assert np.quantile(np.abs(lab[1] - lab[0]), 0.99) < 0.7  # sRGB clips a few colors on this side too


def test_a_gray_profile_is_applied_and_replaced_by_srgb(colorize: Colorize, gray: Image.Image) -> None:
    gray.save("plain.png")
    gray.save("light.png", icc_profile=imagecodecs.cms_profile("gray", gamma=1.0))
    assert colorize("plain.png", "light.png", "-o", "new") == 0
    with Image.open("new/light.png") as light, Image.open("new/plain.png") as plain:
        assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(light.info["icc_profile"])))
        assert lightness(np.asarray(light)).mean() > lightness(np.asarray(plain)).mean() + 10


@pytest.mark.parametrize("channels", ["gray", "rgb"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_kept(colorize: Colorize, gray: Image.Image, suffix: str, channels: str) -> None:
    values = np.asarray(gray).astype(np.uint16) * 251 + np.arange(gray.width, dtype=np.uint16) % 251
    true = np.dstack([values] * 3)
    if suffix == ".png":
        Path("deep.png").write_bytes(imagecodecs.png_encode(values if channels == "gray" else true))
    else:
        tifffile.imwrite("deep.tif", values if channels == "gray" else true, compression="lzw", description="a text",
                         resolution=(600, 600), resolutionunit="INCH", metadata=None)  # fmt: skip
    assert colorize(f"deep{suffix}", "-o", "new") == 0
    path = Path("new", f"deep{suffix}")
    colored = tifffile.imread(path) if suffix == ".tif" else imagecodecs.png_decode(path.read_bytes())
    assert colored.dtype == np.uint16
    assert is_colored(colored)
    assert np.abs(lightness(colored) - lightness(true)).max() < 0.01  # an 8-bit step is about 0.4
    if suffix == ".tif":
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages.first.description == "a text"
            assert tiff.pages.first.get_resolution("INCH") == (600, 600)


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "pages", "16-bit pages", "from a telephone"])
def test_a_tiff_keeps_all_exif_directories(colorize: Colorize, gray: Image.Image, kind: str) -> None:
    """The camera, the exposure, the location, and XMP."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[700] = "a maker", 6, b"<x:xmpmeta/>"
    exif.get_ifd(0x8769).update({
        0x829A: IFDRational(1, 250), 0x9000: b"0232", 0x9003: "1932:05:01 12:00:00", 0x927C: b"\0\1note", 0x8827: 400,
        0xA005: {1: "R98"},
    })  # fmt: skip
    exif.get_ifd(0x8825).update({1: "N", 2: (IFDRational(48), IFDRational(38), IFDRational(939, 100)), 5: b"\0"})
    deep = [Image.fromarray(np.asarray(gray.rotate(turn)).astype(np.uint16) * 257) for turn in (0, 20)]
    name = "old.jpg" if kind == "from a telephone" else "old.tif"
    first, rest = {
        "8 bits": (gray, []), "16 bits": (deep[0], []), "from a telephone": (gray, []),
        "pages": (gray, [gray.rotate(20)]), "16-bit pages": (deep[0], deep[1:]),
    }[kind]  # fmt: skip
    several = {"save_all": True, "append_images": rest} if rest else {}
    first.save(name, exif=exif.tobytes(), **several)
    assert colorize(name, "-o", "new.tif") == 0
    found = []
    for path in (name, "new.tif"):
        with Image.open(path) as picture:
            pages = []
            for page in range(getattr(picture, "n_frames", 1)):
                picture.seek(page)
                told = picture.getexif()
                pages.append((told[0x010F], *(dict(told.get_ifd(part)) for part in (0x8769, 0x8825, 0xA005))))
                pages[-1][1].pop(0xA005)  # where the last of them lies
            found.append(pages)
    assert found[0][0][1][0x829A] == 1 / 250
    assert found[0][0][2][2] == (48, 38, 9.39)
    assert found[1] == found[0]
    assert len(found[1]) == 1 + len(rest)
    with tifffile.TiffFile("new.tif") as tiff:
        assert [page.dtype for page in tiff.pages] == [np.uint16 if "16" in kind else np.uint8] * (1 + len(rest))
        assert all(page.shape == (*gray.size, 3) for page in tiff.pages)  # upright
        assert all(is_colored(page.asarray()) for page in tiff.pages)
        upright = np.asarray(first.transpose(Image.Transpose.ROTATE_270)).astype(np.float32)
        assert np.corrcoef(tiff.pages.first.asarray().mean(axis=2).flatten(), upright.flatten())[0, 1] > 0.99
        assert all(0x0112 not in page.tags and page.tags[700].value == b"<x:xmpmeta/>" for page in tiff.pages)


def test_all_rotated_frames_are_turned_upright(colorize: Colorize, gray: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gray.save("old.webp", save_all=True, append_images=[gray.rotate(20)], exif=exif)
    assert colorize("old.webp", "-o", "new") == 0
    with Image.open("new/old.webp") as colored:
        assert (colored.n_frames, colored.size) == (2, gray.size[::-1])
        assert colored.getexif()[0x0112] == 1


def test_a_transparent_color_stays_transparent(colorize: Colorize, gray: Image.Image) -> None:
    gray.point(lambda value: value & ~1).save("old.png", transparency=100)
    assert colorize("old.png", "-o", "new") == 0
    with Image.open("old.png") as before, Image.open("new/old.png") as after:
        alpha = np.asarray(after.getchannel("A"))
        assert np.array_equal(alpha, np.asarray(before.convert("RGBA").getchannel("A")))
        assert (alpha == 0).any()


def test_a_one_way_profile_is_replaced_by_srgb(colorize: Colorize, gray: Image.Image) -> None:
    """Like a scanner's, without a table back to its space; this one halves each value."""
    identity = np.rint(np.eye(3) * 65536).astype(">i4").tobytes()
    ramp, corners = bytes(range(256)) * 3, np.indices((2, 2, 2)).reshape(3, 8).T
    table = b"mft1\0\0\0\0" + bytes([3, 3, 2, 0]) + identity + ramp + (corners * 127).astype(np.uint8).tobytes() + ramp
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x08scanner\0" + bytes(78), b"A2B0": table,
            b"wtpt": b"XYZ \0\0\0\0" + bytes.fromhex("0000f6d6000100000000d32d")}  # fmt: skip
    head, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        head += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(head) + len(body)
    start_ = struct.pack(">I4s4s4s4s4s12x4s", size, b"lcms", b"\x02\x20\0\0", b"scnr", b"RGB ", b"XYZ ", b"acsp")
    profile = start_ + bytes(28) + bytes.fromhex("0000f6d6000100000000d32d") + bytes(48) + head + body
    gray.convert("RGB").save("scan.png", icc_profile=profile)
    gray.save("plain.png")
    assert colorize("scan.png", "plain.png", "-o", "new") == 0
    with Image.open("new/scan.png") as scan, Image.open("new/plain.png") as plain:
        assert scan.info["icc_profile"] == SRGB
        assert lightness(np.asarray(scan)).mean() != pytest.approx(lightness(np.asarray(plain)).mean(), abs=3)


def test_a_16_bit_picture_becomes_a_png_if_its_format_has_no_16_bit_color(
    colorize: Colorize, gray: Image.Image
) -> None:
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save("deep.pgm")
    assert colorize("deep.pgm", "-o", "new") == 0
    assert imagecodecs.png_decode(Path("new/deep.png").read_bytes()).dtype == np.uint16


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_is_kept(colorize: Colorize, gray: Image.Image, suffix: str) -> None:
    gray.putalpha(alpha := Image.linear_gradient("L").resize(gray.size))
    gray.save(f"cut.{suffix}", lossless=True)
    assert colorize(f"cut.{suffix}", "-o", "new", "--side-by-side") == 0
    with Image.open(f"new/cut.{suffix}") as colored:
        assert colored.size == (2 * gray.width, gray.height)
        assert np.array_equal(np.asarray(colored.getchannel("A")), np.hstack([alpha, alpha]))
        left, right = np.hsplit(np.asarray(colored.convert("RGB")), 2)
        assert is_colored(right)
        assert not is_colored(left)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif"])
def test_each_frame_is_colored_and_keeps_its_duration(colorize: Colorize, gray: Image.Image, suffix: str) -> None:
    frames = [gray.rotate(20 * turn) for turn in range(3)]
    timing = {} if suffix == "tif" else {"duration": [50, 100, 70], "loop": 2}
    frames[0].save(f"moving.{suffix}", save_all=True, append_images=frames[1:], **timing)
    assert colorize(f"moving.{suffix}", "-o", "new") == 0
    with Image.open(f"new/moving.{suffix}") as colored:
        assert colored.n_frames == 3
        durations = []
        for true, frame in zip(frames, ImageSequence.Iterator(colored), strict=True):
            rgb = np.asarray(frame.convert("RGB"))
            durations.append(frame.info.get("duration"))
            assert is_colored(rgb)
            assert np.abs(lightness(rgb) - lightness(np.dstack([true] * 3))).mean() < 4  # 256 colors, or lossy
        if timing:
            assert durations == [50, 100, 70]
            assert colored.info["loop"] == 2
