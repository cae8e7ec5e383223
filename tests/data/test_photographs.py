"""Photographs read, resized and skipped."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from colorlab.color import GRAY_AB, rgb_to_lab
from colorlab.data.photographs import COLORFUL_SPREAD, GRAY, Photographs, Pictures, Skipped, SkippedPhotographs, is_gray
from colorlab.data.splits import find_photographs
from colorlab.images.decoding import read_photograph
from support.image_files import MACAW


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - np.asarray(other, float)).mean())


@pytest.fixture
def mixed(tmp_path: Path, macaw: Image.Image) -> Path:
    """Two good photographs, a gray one, a broken one."""
    macaw.save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"torn")
    macaw.convert("L").save(tmp_path / "c.png")
    macaw.rotate(90).save(tmp_path / "d.png")
    return tmp_path


def test_training_replaces_unusable_photographs_with_the_next_usable_one(mixed: Path) -> None:
    photographs = Photographs(mixed, find_photographs(mixed), size=32, fill=True)
    batch = photographs.collate([photographs[index] for index in range(4)])
    assert batch.index.tolist() == [0, 3, 3, 3]
    assert batch.rgb.shape == (4, 3, 32, 32)
    assert {(photographs.name(index), reason) for index, reason in batch.skipped if reason == GRAY} == {("c.png", GRAY)}
    assert {photographs.name(index) for index, _ in batch.skipped} == {"b.jpg", "c.png"}


def test_validation_leaves_out_unreadable_and_gray_photographs(mixed: Path) -> None:
    photographs = Photographs(mixed, find_photographs(mixed), size=32, fill=False)
    batch = photographs.collate([photographs[index] for index in range(4)])
    assert batch.index.tolist() == [0, 3]
    assert [photographs.name(index) for index, _ in batch.skipped] == ["b.jpg", "c.png"]


def test_pictures_are_resized_with_antialiasing(mixed: Path) -> None:
    photographs = Photographs(mixed, ["a.png"], size=48, fill=False)
    expected = v2.functional.resize(read_photograph(mixed / "a.png"), [48, 48], antialias=True)
    assert torch.equal(photographs[0].rgb[0], expected)
    pillow = Image.open(mixed / "a.png").resize((48, 48), Image.Resampling.BILINEAR)
    assert psnr(expected.permute(1, 2, 0).numpy(), np.asarray(pillow)) > 50


def test_file_names_in_any_script_are_kept(mixed: Path) -> None:
    for name in ("ä ö=ü.png", "写真.png"):
        (mixed / "a.png").rename(mixed / name)
        photographs = Photographs(mixed, [name], size=32, fill=False)
        assert photographs.name(0) == name
        assert photographs[0].index.tolist() == [0]
        (mixed / name).rename(mixed / "a.png")


def test_a_picture_is_gray_when_no_pixel_has_color(macaw: Image.Image) -> None:
    gray = torch.from_numpy(np.array(macaw.convert("L").convert("RGB"))).permute(2, 0, 1)
    assert is_gray(gray)
    assert not is_gray(read_photograph(MACAW))
    tinted = gray.clone()
    tinted[0, :8, :8] += 40
    assert not is_gray(tinted)


def test_pixels_with_a_large_channel_spread_are_never_gray() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    for red in levels[::3]:
        rgb = torch.cartesian_prod(red[None], levels, levels).T[None, :, None]
        far = (rgb.amax(dim=1) - rgb.amin(dim=1)).flatten() > COLORFUL_SPREAD
        assert rgb_to_lab(rgb)[1].abs().amax(dim=1).flatten()[far].min() > GRAY_AB


def test_jpeg_noise_does_not_make_a_gray_picture_colored(macaw: Image.Image) -> None:
    stored = io.BytesIO()
    macaw.convert("L").convert("RGB").save(stored, "jpeg", quality=60)
    assert is_gray(torch.from_numpy(np.array(Image.open(stored))).permute(2, 0, 1))


def test_each_skipped_photograph_is_recorded_once_and_unreadable_ones_are_reported(
    mixed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photographs = Photographs(mixed, find_photographs(mixed), size=32, fill=True)
    skipped = SkippedPhotographs(mixed, total=20)
    assert skipped.summary() == ""
    batch = Pictures(torch.empty(0), torch.empty(0), [Skipped(1, "torn\n"), Skipped(2, GRAY)])
    with caplog.at_level(logging.WARNING, logger="colorlab"):
        for _ in range(2):
            skipped.note(batch, photographs)
    assert [record.message for record in caplog.records] == [f"Left out {mixed}/b.jpg: torn\n"]
    assert skipped.reasons == {"b.jpg": "torn\n", "c.png": GRAY}
    assert skipped.unreadable == {"b.jpg": "torn\n"}
    assert skipped.summary() == "left out: 1 gray (no color to learn from), 1 unreadable"
