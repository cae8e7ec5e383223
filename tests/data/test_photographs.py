"""Photographs found, split and delivered."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from colorlab.color import GRAY_AB, rgb_to_lab
from colorlab.data.photographs import (
    COLORFUL_SPREAD,
    GRAY,
    Names,
    Photographs,
    find_photographs,
    is_gray,
    split_photographs,
)
from colorlab.errors import UserError
from colorlab.images.decoding import read_photograph
from support.image_files import MACAW


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - np.asarray(other, float)).mean())


# -- find and split ----------------------------------------------------------------------------------


def test_pictures_are_found_in_every_sub_folder_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/z.JPG", "a.png", "b/c/d.webp", "b/notes.txt", ".hidden.jpg", "b/a.TIFF", "e.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_photographs(tmp_path) == ["a.png", "b/a.TIFF", "b/c/d.webp", "b/z.JPG", "e.bmp"]


def test_a_root_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no picture"):
        find_photographs(tmp_path)
    with pytest.raises(UserError, match="is missing"):
        find_photographs(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a folder"):
        find_photographs(tmp_path / "file")


NAMES = [f"photo{number:04d}.jpg" for number in range(2000)]
EXPECTED_TEST = ["photo0000.jpg", "photo0018.jpg", "photo0023.jpg", "photo0030.jpg", "photo0036.jpg"]


def test_the_split_has_about_the_fractions_asked_for_and_loses_nothing() -> None:
    splits = split_photographs(NAMES, 0.1, 0.2, seed=0)
    assert sorted(name for names in splits.values() for name in names) == NAMES
    assert len(splits["val"]) == pytest.approx(200, abs=45)
    assert len(splits["test"]) == pytest.approx(400, abs=60)


def test_a_seed_draws_the_same_split_on_every_machine() -> None:
    """Written down once: a change of the draw would move people's test pictures into training."""
    assert split_photographs(NAMES[:40], 0.1, 0.1, seed=0)["test"] == EXPECTED_TEST
    assert split_photographs(NAMES[:40], 0.1, 0.1, seed=1)["test"] != EXPECTED_TEST


def test_a_photograph_keeps_its_side_when_others_are_added() -> None:
    before = split_photographs(NAMES[::3], 0.1, 0.1, seed=0)
    after = split_photographs(NAMES, 0.1, 0.1, seed=0)
    for split, names in before.items():
        assert set(names) <= set(after[split])


def test_sub_folders_are_the_splits() -> None:
    names = ["test/a.jpg", "train/b.jpg", "train/deep/c.jpg", "val/d.jpg"]
    splits = split_photographs(names, 0.5, 0.5, seed=0)
    assert splits == {"train": ["train/b.jpg", "train/deep/c.jpg"], "val": ["val/d.jpg"], "test": ["test/a.jpg"]}


def test_a_missing_val_folder_is_drawn_from_train_and_the_test_folder_stays() -> None:
    names = [f"test/{name}" for name in NAMES[:50]] + [f"train/{name}" for name in NAMES[:200]]
    splits = split_photographs(names, 0.1, 0.1, seed=0)
    assert splits["test"] == names[:50]
    assert 8 <= len(splits["val"]) <= 35
    assert sorted(splits["train"] + splits["val"]) == names[50:]


# -- deliver -------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path, macaw: Image.Image) -> Path:
    """Two good photographs, a gray one, a broken one."""
    macaw.save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"torn")
    macaw.convert("L").save(tmp_path / "c.png")
    macaw.rotate(90).save(tmp_path / "d.png")
    return tmp_path


def test_in_training_the_next_usable_photograph_takes_an_unusable_ones_place(mixed: Path) -> None:
    photographs = Photographs(mixed, find_photographs(mixed), size=32, fill=True)
    batch = photographs.collate([photographs[index] for index in range(4)])
    assert batch.index.tolist() == [0, 3, 3, 3]
    assert batch.rgb.shape == (4, 3, 32, 32)
    assert {(photographs.name(index), reason) for index, reason in batch.skipped if reason == GRAY} == {("c.png", GRAY)}
    assert {photographs.name(index) for index, _ in batch.skipped} == {"b.jpg", "c.png"}


def test_in_validation_broken_photographs_are_left_out_and_gray_ones_stay(mixed: Path) -> None:
    photographs = Photographs(mixed, find_photographs(mixed), size=32, fill=False)
    batch = photographs.collate([photographs[index] for index in range(4)])
    assert batch.index.tolist() == [0, 2, 3]
    assert [photographs.name(index) for index, _ in batch.skipped] == ["b.jpg"]


def test_pictures_are_resized_with_antialiasing(mixed: Path) -> None:
    photographs = Photographs(mixed, ["a.png"], size=48, fill=False)
    expected = v2.functional.resize(read_photograph(mixed / "a.png"), [48, 48], antialias=True)
    assert torch.equal(photographs[0].rgb[0], expected)
    pillow = Image.open(mixed / "a.png").resize((48, 48), Image.Resampling.BILINEAR)
    assert psnr(expected.permute(1, 2, 0).numpy(), np.asarray(pillow)) > 50


def test_names_are_a_sequence_of_strings_in_two_arrays() -> None:
    given = ["a.jpg", "ä/写真.png", "odd\udcff.jpg", "b.jpg"]
    names = Names(given)
    assert list(names) == list(pickle.loads(pickle.dumps(names))) == given
    assert (names[-1], len(names), "b.jpg" in names, "c.jpg" in names) == ("b.jpg", 4, True, False)
    assert not Names([])
    with pytest.raises(IndexError):
        names[4]
    many = Names(f"train/n{number:08d}.jpg" for number in range(10000))
    assert len(pickle.dumps(many)) < 10000 * 30


def test_names_of_any_script_survive(mixed: Path) -> None:
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


def test_no_color_whose_channels_lie_far_apart_is_gray() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    for red in levels[::3]:
        rgb = torch.cartesian_prod(red[None], levels, levels).T[None, :, None]
        far = (rgb.amax(dim=1) - rgb.amin(dim=1)).flatten() > COLORFUL_SPREAD
        assert rgb_to_lab(rgb)[1].abs().amax(dim=1).flatten()[far].min() > GRAY_AB


def test_jpeg_noise_does_not_make_a_gray_picture_colored(macaw: Image.Image) -> None:
    stored = io.BytesIO()
    macaw.convert("L").convert("RGB").save(stored, "jpeg", quality=60)
    assert is_gray(torch.from_numpy(np.array(Image.open(stored))).permute(2, 0, 1))
