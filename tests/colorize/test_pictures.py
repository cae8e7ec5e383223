"""Pictures colored by many threads: limits of size and memory."""

import gc
import os
import struct
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from colorlab.colorize import batching, pictures
from colorlab.colorize.jobs import Job, Options
from colorlab.data.splits import SAMPLES
from colorlab.models import CUNet

PHOTOGRAPH = SAMPLES / "fishes_fish1.jpg"

Colorize = Callable[..., int]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_size_of_every_page_is_checked(colorize: Colorize, dtype: type, capsys: pytest.CaptureFixture) -> None:
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


def test_the_size_of_all_frames_held_together_is_checked(colorize: Colorize, capsys: pytest.CaptureFixture) -> None:
    """All frames of a GIF are held, but one of a TIFF, whatever the format of the original."""
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


def test_a_frame_larger_than_the_header_says_is_refused(
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


@pytest.mark.parametrize(("suffix", "held"), [("gif", 3), ("tif", 1)])
def test_all_frames_held_at_a_time_count_against_the_budget(
    colorize: Colorize, gray: Image.Image, suffix: str, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, reserve = [], batching.PixelBudget.reserve
    monkeypatch.setattr(
        batching.PixelBudget, "reserve", lambda self, pixels: asked.append(pixels) or reserve(self, pixels)
    )
    frames = [gray.rotate(20 * turn) for turn in range(3)]
    frames[0].save(f"moving.{suffix}", save_all=True, append_images=frames[1:])
    assert colorize(f"moving.{suffix}", "-o", "new") == 0
    assert asked == [held * gray.width * gray.height]


def test_the_batch_size_does_not_change_the_result(colorize: Colorize, gray: Image.Image) -> None:
    os.mkdir("album")
    for turn in range(6):
        gray.rotate(15 * turn).save(f"album/{turn}.png")
    assert colorize("album", "-o", "many", "--batch-size", "4") == 0
    assert colorize("album", "-o", "one", "--batch-size", "1") == 0
    for turn in range(6):
        many, one = (np.asarray(Image.open(f"{way}/{turn}.png")).astype(int) for way in ("many", "one"))
        assert np.abs(many - one).max() <= 1


@pytest.mark.parametrize("fails", ["predict", "write_picture"])
def test_pictures_that_failed_are_freed_at_once(tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the garbage collector: no exception holds them through its traceback."""

    def fail(*args: object) -> None:
        for _ in args[2] if fails == "write_picture" else ():  # the frames, of which the first is then decoded
            raise ValueError
        raise ValueError

    decoded, pixels_of = [], pictures.pixels_of

    def watched(pixels: np.ndarray) -> tuple:
        decoded.append(weakref.ref(pixels))
        return pixels_of(pixels)

    monkeypatch.setattr(batching if fails == "predict" else pictures, fails, fail)
    monkeypatch.setattr(pictures, "pixels_of", watched)
    gray = Image.open(SAMPLES / "fishes_fish1.jpg").convert("L").resize((40, 30))
    jobs = []
    for number in range(40):
        gray.save(path := tmp_path / f"{number}.png")
        jobs.append(Job(path, tmp_path / "new" / path.name, keep_suffix=False))
    gc.disable()
    try:
        alive = []
        for failure in pictures.color_pictures(jobs, CUNet(width=2), Options(size=32, batch_size=2)):
            assert failure is not None
            alive.append(sum(each() is not None for each in decoded))
    finally:
        gc.enable()
    assert len(alive) == len(decoded) == 40
    assert max(alive) <= 4
