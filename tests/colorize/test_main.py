"""The coloring command on real files of every kind; other programs read what it wrote."""

import contextlib
import gc
import io
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageSequence
from PIL.TiffImagePlugin import IFDRational
from rich.progress import Progress

from colorlab.color import rgb_to_lab
from colorlab.colorize import album
from colorlab.colorize.__main__ import main
from colorlab.data.splits import SAMPLES
from colorlab.images.frames import Frame
from colorlab.images.profiles import SRGB
from colorlab.models import ECCV16, CUNet
from support.checkpoints import save_checkpoint
from support.command_process import CommandProcess
from support.fault_injection import kill_during_file_write

PHOTOGRAPH = SAMPLES / "fishes_fish1.jpg"
ADOBE = imagecodecs.cms_profile("adobergb")

Colorize = Callable[..., int]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = CUNet(width=2)
    model.head.weight.data.mul_(100)  # strong colors
    return save_checkpoint(model, tmp_path_factory.mktemp("model") / "cunet.ckpt")


@pytest.fixture
def colorize(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Colorize:
    """Run the command in this process and in an own folder; its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> int:
        given = [] if "--checkpoint" in words else ["--checkpoint", checkpoint]
        given += [] if "--size" in words else ["--size", "32"]
        monkeypatch.setattr(sys, "argv", ["colorlab-colorize", *map(str, [*words, *given])])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code

    return run


@pytest.fixture
def gray() -> Image.Image:
    return Image.open(PHOTOGRAPH).convert("L")


def lightness(rgb: np.ndarray) -> np.ndarray:
    whole = np.iinfo(rgb.dtype).max
    return rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / whole).movedim(-1, 0)[None])[0][0, 0].numpy()


def is_colored(rgb: np.ndarray) -> bool:
    """Whether its red, green and blue differ, on the average, by more than lossy formats make them."""
    return rgb.ndim == 3 and bool(np.ptp(rgb[..., :3].astype(np.int32), axis=2).mean() > 0.1 * np.iinfo(rgb.dtype).max)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


# -- what is kept ------------------------------------------------------------------------------------


def test_exif_resolution_and_format_stay_and_the_picture_stands_upright(colorize: Colorize, gray: Image.Image) -> None:
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


def test_a_picture_in_another_rgb_space_comes_back_in_it_with_its_own_l(colorize: Colorize) -> None:
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


def test_a_gray_profile_is_honored_and_gives_way_to_srgb(colorize: Colorize, gray: Image.Image) -> None:
    gray.save("plain.png")
    gray.save("light.png", icc_profile=imagecodecs.cms_profile("gray", gamma=1.0))
    assert colorize("plain.png", "light.png", "-o", "new") == 0
    with Image.open("new/light.png") as light, Image.open("new/plain.png") as plain:
        assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(light.info["icc_profile"])))
        assert lightness(np.asarray(light)).mean() > lightness(np.asarray(plain)).mean() + 10


@pytest.mark.parametrize("channels", ["gray", "rgb"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen_bits(colorize: Colorize, gray: Image.Image, suffix: str, channels: str) -> None:
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
def test_a_tiff_has_the_whole_exif(colorize: Colorize, gray: Image.Image, kind: str) -> None:
    """What a camera tells: its make, the exposure, the place, and what other programs have noted."""
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


def test_frames_on_their_side_are_all_turned(colorize: Colorize, gray: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gray.save("old.webp", save_all=True, append_images=[gray.rotate(20)], exif=exif)
    assert colorize("old.webp", "-o", "new") == 0
    with Image.open("new/old.webp") as colored:
        assert (colored.n_frames, colored.size) == (2, gray.size[::-1])
        assert colored.getexif()[0x0112] == 1


def test_a_color_that_is_transparent_stays_so(colorize: Colorize, gray: Image.Image) -> None:
    gray.point(lambda value: value & ~1).save("old.png", transparency=100)
    assert colorize("old.png", "-o", "new") == 0
    with Image.open("old.png") as before, Image.open("new/old.png") as after:
        alpha = np.asarray(after.getchannel("A"))
        assert np.array_equal(alpha, np.asarray(before.convert("RGBA").getchannel("A")))
        assert (alpha == 0).any()


def test_a_profile_that_only_leads_out_of_its_space_gives_way_to_srgb(colorize: Colorize, gray: Image.Image) -> None:
    """As a scanner's may; this one halves each value."""
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


def test_a_deep_picture_whose_format_has_no_deep_colors_becomes_a_png(colorize: Colorize, gray: Image.Image) -> None:
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save("deep.pgm")
    assert colorize("deep.pgm", "-o", "new") == 0
    assert imagecodecs.png_decode(Path("new/deep.png").read_bytes()).dtype == np.uint16


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_stays(colorize: Colorize, gray: Image.Image, suffix: str) -> None:
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
def test_each_frame_is_colored_and_shown_as_long(colorize: Colorize, gray: Image.Image, suffix: str) -> None:
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


# -- where from, where to ----------------------------------------------------------------------------


def test_folders_patterns_and_files_go_where_they_lay_and_nothing_is_overwritten(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    for name in ("album/1.jpg", "album/1932/2.PNG", "loose_3.png", "loose_4.png", "5.bmp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        gray.save(name)
    Path("album/notes.txt").write_text("not a picture")
    assert colorize("album", "loose_?.png", "5.bmp", "-o", "new", "--guided") == 0
    made = {path.relative_to("new").as_posix(): path.stat() for path in Path("new").rglob("*") if path.is_file()}
    assert sorted(made) == ["1.jpg", "1932/2.PNG", "5.bmp", "loose_3.png", "loose_4.png"]
    assert "5 of 5 pictures in " in (said := capsys.readouterr().err)
    assert "images/s" in said
    Path("new/1.jpg").unlink()
    assert colorize("album", "-o", "new") == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == "colorlab: album/1932/2.PNG: new/1932/2.PNG exists: --force overwrites it."
    assert Path("new/1.jpg").exists()
    assert Path("new/1932/2.PNG").stat() == made["1932/2.PNG"]
    assert colorize("album", "-o", "new", "--force") == 0
    assert Path("new/1932/2.PNG").stat() != made["1932/2.PNG"]


def test_one_picture_goes_to_a_file_whose_name_says_the_format(colorize: Colorize, gray: Image.Image) -> None:
    gray.save("old.png")
    assert colorize("old.png", "-o", "deep/new.jpg") == 0
    with Image.open("deep/new.jpg") as colored:
        assert colored.format == "JPEG"


def test_without_a_checkpoint_the_built_in_one_colors_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, gray: Image.Image
) -> None:
    monkeypatch.chdir(tmp_path)
    gray.save("old.png")
    monkeypatch.setattr(sys, "argv", ["colorlab-colorize", "old.png", "-o", "new.png"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert np.ptp(np.asarray(Image.open("new.png"), dtype=int), axis=2).mean() > 5
    assert "by the small model that comes with colorlab" in capsys.readouterr().err


def test_standard_input_and_output_in_a_real_process(checkpoint: Path, tmp_path: Path, gray: Image.Image) -> None:
    """From a run's folder, too, which stands for its best checkpoint."""
    best = tmp_path / "run" / "checkpoints" / "cunet_epoch001_loss0.5.ckpt"
    best.parent.mkdir(parents=True)
    best.write_bytes(checkpoint.read_bytes())
    gray.save(buffer := io.BytesIO(), "PNG")
    command = [sys.executable, "-m", "colorlab.colorize", "-", "--checkpoint", "run", "-o", "-", "--size", "32"]
    done = subprocess.run(command, cwd=tmp_path, input=buffer.getvalue(), capture_output=True)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as colored:
        assert colored.size == gray.size
        assert is_colored(np.asarray(colored))


def test_batches_change_nothing(colorize: Colorize, gray: Image.Image) -> None:
    os.mkdir("album")
    for turn in range(6):
        gray.rotate(15 * turn).save(f"album/{turn}.png")
    assert colorize("album", "-o", "many", "--batch-size", "4") == 0
    assert colorize("album", "-o", "one", "--batch-size", "1") == 0
    for turn in range(6):
        many, one = (np.asarray(Image.open(f"{way}/{turn}.png")).astype(int) for way in ("many", "one"))
        assert np.abs(many - one).max() <= 1


# -- mistakes ----------------------------------------------------------------------------------------


def test_what_cannot_be_colored_is_listed_at_the_end_and_the_others_are_done(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    gray.save("good.jpg")
    gray.save("good.png")
    gray.convert("RGB").save("good.gif", save_all=True, append_images=[gray.rotate(9)])
    tifffile.imwrite("good.tif", np.asarray(gray).astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99_999))) + chunk(b"IEND", b"")
    os.mkdir("bad")
    gray.save("bad/program.jpg", "EPS")
    Path("bad/bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    Path("bad/text.jpg").write_text("not a picture")
    Path("bad/empty.png").touch()
    for name in ("good.jpg", "good.png", "good.gif", "good.tif"):
        content = Path(name).read_bytes()
        Path("bad", name.replace("good", "torn")).write_bytes(content[: len(content) // 2])
    sentences = {
        "bad/bomb.png": "unpacks to 60000×60000 pixels", "bad/text.jpg": "not a picture", "bad/empty.png": "not a pict",
        "bad/program.jpg": "it is not a picture that can be read",
        "bad/torn.jpg": "truncated or damaged", "bad/torn.png": "truncated or damaged",
        "bad/torn.gif": "truncated or damaged", "bad/torn.tif": "cannot be read", "none.jpg": "does not exist",
        "*.xyz": "matches no file",
    }  # fmt: skip
    assert colorize("none.jpg", "bad", "*.xyz", "good.png", "good.jpg", "-o", "new") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    assert len(said) == len(sentences)
    for name, sentence in sentences.items():
        (line,) = (line for line in said if f" {name}: " in line)
        assert sentence in line
        assert line.endswith(".")
    assert sorted(path.name for path in Path("new").iterdir()) == ["good.jpg", "good.png"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_later_page_is_asked_for_its_size_too(colorize: Colorize, dtype: type, capsys: pytest.CaptureFixture) -> None:
    for name, size in (("scan.tif", 40), ("bomb.tif", 1500)):
        with tifffile.TiffWriter(name) as tiff:
            for side in (30, size, 20):
                tiff.write(np.full((side, side, 3), 99, dtype), photometric="rgb", compression="zlib", metadata=None)
    assert colorize("scan.tif", "bomb.tif", "-o", "new", "--megapixels", "1") == 1
    assert "bomb.tif: it unpacks to 1500×1500 pixels" in capsys.readouterr().err
    assert [path.name for path in Path("new").iterdir()] == ["scan.tif"]
    with tifffile.TiffFile("new/scan.tif") as colored:
        assert [page.shape for page in colored.pages] == [(side, side, 3) for side in (30, 40, 20)]
        assert colored.pages.first.dtype == dtype


def test_the_frames_that_are_held_together_are_asked_for_their_size(
    colorize: Colorize, capsys: pytest.CaptureFixture
) -> None:
    """A GIF's, which are written at once; a TIFF's are not, whatever they were before."""
    frames = [Image.new("L", (400, 300), shade) for shade in range(0, 250, 25)]
    for suffix in ("gif", "webp", "tif"):
        frames[0].save(f"long.{suffix}", save_all=True, append_images=frames[1:])
    frames[0].save("short.gif", save_all=True, append_images=frames[1:8])
    assert colorize("long.gif", "long.webp", "long.tif", "short.gif", "-o", "new", "--megapixels", "1") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    sentence = (
        "it unpacks to 10 frames of 400×300 pixels, which would all be in memory: if they are meant, raise --mega"
    )
    assert sorted(said) == [f"colorlab: long.{suffix}: {sentence}pixels=1." for suffix in ("gif", "webp")]
    assert sorted(path.name for path in Path("new").iterdir()) == ["long.tif", "short.gif"]
    assert colorize("long.gif", "-o", "long.new.tif", "--megapixels", "1") == 0


def test_a_frame_that_unpacks_to_more_than_the_head_said_is_refused(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    with tifffile.TiffWriter("channels.tif") as tiff:
        for channels in (3, 100):
            tiff.write(np.full((30, 30, channels), 99, np.uint16), photometric="rgb", compression="zlib", metadata=None)
    small = gray.resize((30, 20))
    small.save("canvas.gif", save_all=True, append_images=[small.rotate(180)])
    content = bytearray(Path("canvas.gif").read_bytes())
    second = content.rindex(b"\x2c" + struct.pack("<HHHH", 0, 0, 30, 20))
    content[second + 5 : second + 9] = struct.pack("<HH", 3000, 2000)
    Path("canvas.gif").write_bytes(content)
    assert colorize("channels.tif", "canvas.gif", "-o", "new") == 1
    said = capsys.readouterr().err
    assert "channels.tif: it cannot be read (a page holds more than colors and alpha)." in said
    assert "canvas.gif: it cannot be read (a frame is larger than the first)." in said
    assert not list(Path("new").iterdir())


WRONG = {
    "album -o album/colored": "lies in album, where it would be colored the next time",
    "album -o album --force": "lies in album, where it would be colored the next time",
    "album old.png -o new.png": "takes one picture, and these are 2",
    "album old.png -o -": "takes one picture, and these are 2",
    "old.png -o new --saturation -1": "saturation=-1 must be 0 or more",
    "old.png -o new --temperature 0.4": "this cunet has none",
    "old.png -o new --size 4": "size=4 must be at least 16",
    "old.png -o new --checkpoint old.png": "old.png is not a checkpoint",
    "old.png -o new --checkpoint none": "none does not exist",
    "old.png -o new --checkpoint bare.pth": "does not say which model it holds",
    "old.png -o new --batch-size 0": "--batch-size=0 must be at least 1",
    "old.png -o new --steady 1": "--steady=1 must be at least 0 and below 1",
    "old.png -o new --device tpu": "--device tpu",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_gets_one_sentence_and_exit_code_2(
    colorize: Colorize, gray: Image.Image, words: str, capsys: pytest.CaptureFixture
) -> None:
    os.mkdir("album")
    gray.save("album/1.png")
    gray.save("old.png")
    torch.save(ECCV16(width=2).state_dict(), "bare.pth")
    before = sorted(Path().rglob("*"))
    assert colorize(*words.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("colorlab: ")
    assert WRONG[words] in line
    assert sorted(Path().rglob("*")) == before


def test_a_picture_never_replaces_itself_or_another_of_the_same_name(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    for name in ("a/1.png", "b/1.png"):
        Path(name).parent.mkdir()
        gray.save(name)
    before = Path("a/1.png").read_bytes()
    assert colorize("a/1.png", "-o", "a", "--force") == 1
    assert "a/1.png: its result would replace it" in capsys.readouterr().err
    assert Path("a/1.png").read_bytes() == before
    assert colorize("a", "b", "-o", "new") == 1
    assert "b/1.png: its result would have the name of that of a/1.png" in capsys.readouterr().err
    assert Path("new/1.png").exists()


def test_two_files_whose_contents_give_them_one_name_do_not_write_over_each_other(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    os.mkdir("album")
    gray.save("album/photo.png")
    gray.rotate(90, expand=True).save("album/photo.jpg", "PNG")
    assert colorize("album", "-o", "new", "--force") == 1
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: "))
    refused, other = ("jpg", "png") if "photo.jpg: " in said else ("png", "jpg")
    assert said == f"colorlab: album/photo.{refused}: its result would have the name of that of album/photo.{other}."
    assert [path.name for path in Path("new").iterdir()] == ["photo.png"]
    with Image.open("new/photo.png") as colored:
        assert colored.size == (gray.size if other == "png" else gray.size[::-1])
        assert is_colored(np.asarray(colored))


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions do not bind root: be nobody for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission_is_said(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
) -> None:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lets nobody else in
        os.chmod(folder, 0o755)
        monkeypatch.chdir(folder)
        for name in ("1.png", "2.png", "open/3.png"):
            Path(name).parent.mkdir(exist_ok=True)
            gray.save(name)
        Path("cunet.ckpt").write_bytes(checkpoint.read_bytes())
        for name, mode in {"1.png": 0, "2.png": 0o444, "open/3.png": 0o444}.items():
            os.chmod(name, mode)
        os.mkdir("closed")
        os.mkdir("new")
        os.chmod("closed", 0o555)
        os.chmod("new", 0o777)
        with without_privileges():
            assert colorize("1.png", "2.png", "open", "-o", "new", "--checkpoint", "cunet.ckpt") == 1
            assert "colorlab: 1.png: permission denied." in capsys.readouterr().err
            assert sorted(os.listdir("new")) == ["2.png", "3.png"]
            assert colorize("2.png", "-o", "closed", "--checkpoint", "cunet.ckpt") == 1
            assert "colorlab: 2.png: permission denied." in capsys.readouterr().err
        monkeypatch.undo()


def test_no_space_left_is_said_and_leaves_nothing(
    colorize: Colorize, gray: Image.Image, full: Path, capsys: pytest.CaptureFixture
) -> None:
    gray.resize((16, 16)).save("small.png")
    tifffile.imwrite("large16.tif", np.asarray(gray).astype(np.uint16) * 257)
    for name in ("large.png", "large.jpg", "large.tif", "large.webp", "large.gif"):
        gray.resize((900, 600)).save(name)
    frames = [gray.resize((600, 400)).rotate(turn) for turn in range(3)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    Path("large16.png").write_bytes(imagecodecs.png_encode(np.asarray(gray).astype(np.uint16) * 257))
    assert colorize("large*", "moving.gif", "small.png", "-o", full) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    assert len(said) == 8
    assert all(line.endswith(": no space left to write its result.") for line in said), said
    assert [path.name for path in full.iterdir()] == ["small.png"]


@pytest.mark.parametrize(("suffix", "held"), [("gif", 3), ("tif", 1)])
def test_the_frames_that_are_held_at_a_time_are_counted(
    colorize: Colorize, gray: Image.Image, suffix: str, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, of = [], album.Budget.of
    monkeypatch.setattr(album.Budget, "of", lambda self, pixels: asked.append(pixels) or of(self, pixels))
    frames = [gray.rotate(20 * turn) for turn in range(3)]
    frames[0].save(f"moving.{suffix}", save_all=True, append_images=frames[1:])
    assert colorize(f"moving.{suffix}", "-o", "new") == 0
    assert asked == [held * gray.width * gray.height]


def test_a_killed_command_leaves_whole_files_only(checkpoint: Path, tmp_path: Path, gray: Image.Image) -> None:
    (tmp_path / "album").mkdir()
    for number in range(20):
        gray.resize((900, 600)).save(tmp_path / "album" / f"{number}.jpg")
    words = ("album", "--checkpoint", str(checkpoint), "-o", "new", "--size", "32")
    coloring = CommandProcess(*words, cwd=tmp_path, before=partial(kill_during_file_write, 10), command="colorize")
    assert coloring.wait() == -signal.SIGKILL, coloring.output()
    whole = list(tmp_path.glob("new/*.jpg"))
    assert 0 < len(whole) < 20
    assert list(tmp_path.glob("new/*.part"))
    for path in whole:
        with Image.open(path) as picture:
            picture.load()


@pytest.mark.parametrize("at_work", ["the network", "the progress"])
def test_an_interruption_ends_the_command_and_its_threads(
    colorize: Colorize, gray: Image.Image, at_work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    os.mkdir("album")
    for number in range(12):
        gray.save(f"album/{number}.png")
    module, name = {"the network": (album, "predict"), "the progress": (Progress, "advance")}[at_work]
    monkeypatch.setattr(module, name, interrupted)
    assert colorize("album", "-o", "new", "--batch-size", "2") == 130
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("picture")]
    assert not list(Path("new").glob("*.part"))


@pytest.mark.parametrize("fails", ["predict", "write_picture"])
def test_what_failed_is_not_held_until_the_end(
    gray: Image.Image, tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by objects that lead to each other, for which Python looks when it has much of its own to look for."""

    def fail(*words: object) -> None:
        for _ in words[2] if fails == "write_picture" else ():  # the frames, of which one is decoded then
            raise ValueError
        raise ValueError

    decoded, color_frame = [], album._color_frame

    def watched(frame: Frame, *words: object) -> Frame:
        decoded.append(weakref.ref(frame.pixels))
        return color_frame(frame, *words)

    monkeypatch.setattr(album, fails, fail)
    monkeypatch.setattr(album, "_color_frame", watched)
    errands = []
    for number in range(40):
        gray.resize((40, 30)).save(path := tmp_path / f"{number}.png")
        errands.append(album.Errand(path, tmp_path / "new" / path.name, False))
    gc.disable()
    try:
        alive = []
        for failure in album.color_pictures(errands, CUNet(width=2), album.How(size=32, batch_size=2)):
            assert failure is not None
            alive.append(sum(each() is not None for each in decoded))
    finally:
        gc.enable()
    assert len(alive) == len(decoded) == 40
    assert max(alive) <= 4


def test_work_in_flight_is_bounded_and_a_large_picture_goes_alone() -> None:
    budget = album.Budget(100)
    entered = threading.Event()

    def ask_for_one_more() -> None:
        with budget.of(1):
            entered.set()

    with budget.of(60):
        with budget.of(40):
            late = threading.Thread(target=ask_for_one_more, daemon=True)
            late.start()
            assert not entered.wait(0.2)
        assert entered.wait(120)
    late.join()
    with budget.of(1000):
        assert budget._used == 1000
    assert budget._used == 0
