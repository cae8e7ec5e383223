"""Photographs found, split and identified."""

import pickle
import shutil
from pathlib import Path

import pytest

from colorlab.data.splits import (
    SAMPLES,
    FileNames,
    content_fingerprint,
    find_photographs,
    fingerprint,
    split_photographs,
)
from colorlab.errors import UserError


def test_pictures_are_found_in_every_sub_folder_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/z.JPG", "a.png", "b/c/d.webp", "b/notes.txt", ".hidden.jpg", "b/a.TIFF", "e.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_photographs(tmp_path) == ["a.png", "b/a.TIFF", "b/c/d.webp", "b/z.JPG", "e.bmp"]


def test_links_are_followed_and_those_in_a_circle_are_not(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("photos/train/a.jpg", "elsewhere/b.jpg", "elsewhere/more/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (root / "val").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    (root / "train" / "up").symlink_to(root)
    (tmp_path / "elsewhere" / "more" / "round").symlink_to(root / "val")
    (root / "broken").symlink_to(tmp_path / "nowhere")
    found = find_photographs(root)
    assert found == ["train/a.jpg", "train/linked.jpg", "val/b.jpg", "val/more/c.jpg"]
    assert split_photographs(found, 0.5, 0.5, 0)["val"] == found[2:]


def test_a_root_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no picture"):
        find_photographs(tmp_path)
    with pytest.raises(UserError, match="is missing"):
        find_photographs(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a folder"):
        find_photographs(tmp_path / "file")


NAMES = [f"photo{number:04d}.jpg" for number in range(2000)]
EXPECTED_TEST = ["photo0000.jpg", "photo0018.jpg", "photo0023.jpg", "photo0030.jpg", "photo0036.jpg"]


def test_a_split_has_about_the_requested_fractions_and_contains_every_photograph() -> None:
    splits = split_photographs(NAMES, 0.1, 0.2, seed=0)
    assert sorted(name for names in splits.values() for name in names) == NAMES
    assert len(splits["val"]) == pytest.approx(200, abs=45)
    assert len(splits["test"]) == pytest.approx(400, abs=60)


def test_a_seed_draws_the_same_split_on_every_machine() -> None:
    """The expected names are fixed: another draw would move users' test pictures into training."""
    assert split_photographs(NAMES[:40], 0.1, 0.1, seed=0)["test"] == EXPECTED_TEST
    assert split_photographs(NAMES[:40], 0.1, 0.1, seed=1)["test"] != EXPECTED_TEST


def test_a_photograph_keeps_its_split_when_others_are_added() -> None:
    before = split_photographs(NAMES[::3], 0.1, 0.1, seed=0)
    after = split_photographs(NAMES, 0.1, 0.1, seed=0)
    for split, names in before.items():
        assert set(names) <= set(after[split])


def test_sub_folders_are_the_splits() -> None:
    names = ["test/a.jpg", "train/b.jpg", "train/deep/c.jpg", "val/d.jpg"]
    splits = split_photographs(names, 0.5, 0.5, seed=0)
    assert splits == {"train": ["train/b.jpg", "train/deep/c.jpg"], "val": ["val/d.jpg"], "test": ["test/a.jpg"]}


def test_the_names_of_split_folders_are_taken_as_what_they_mean() -> None:
    names = ["Testing/a.jpg", "Train/b.jpg", "Validation/c.jpg", "extra/d.jpg"]
    splits = split_photographs(names, 0.5, 0.5, seed=0)
    assert splits == {"train": names[1:2], "val": names[2:3], "test": names[:1]}
    assert split_photographs(["training/b.jpg", "VALID/c.jpg"], 0.5, 0.5, 0)["val"] == ["VALID/c.jpg"]


def test_two_folders_that_mean_the_same_split_are_refused() -> None:
    with pytest.raises(UserError, match=r"in val and in validation, which mean the same: rename one"):
        split_photographs(["train/a.jpg", "val/b.jpg", "validation/c.jpg"], 0.1, 0.1, 0)
    with pytest.raises(UserError, match=r"in Train and in train"):
        split_photographs(["train/a.jpg", "Train/b.jpg"], 0.1, 0.1, 0)
    both = ["val/b.jpg", "validation/c.jpg"]  # without a train/, they are folders like others
    assert split_photographs(both, 0.0, 0.0, 0)["train"] == both


def test_validation_is_drawn_from_train_if_there_is_no_val_folder() -> None:
    names = [f"test/{name}" for name in NAMES[:50]] + [f"train/{name}" for name in NAMES[:200]]
    splits = split_photographs(names, 0.1, 0.1, seed=0)
    assert splits["test"] == names[:50]
    assert 8 <= len(splits["val"]) <= 35
    assert sorted(splits["train"] + splits["val"]) == names[50:]


def test_file_names_are_a_compact_sequence_of_strings() -> None:
    given = ["a.jpg", "ä/写真.png", "odd\udcff.jpg", "b.jpg"]
    names = FileNames(given)
    assert list(names) == list(pickle.loads(pickle.dumps(names))) == given
    assert (names[-1], len(names), "b.jpg" in names, "c.jpg" in names) == ("b.jpg", 4, True, False)
    assert names[1:3] == given[1:3]
    assert not FileNames([])
    with pytest.raises(IndexError):
        names[4]
    many = FileNames(f"train/n{number:08d}.jpg" for number in range(10000))
    assert len(pickle.dumps(many)) < 10000 * 30


# -- fingerprints ------------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_the_names_sizes_times_and_settings(tmp_path: Path) -> None:
    names = find_photographs(SAMPLES)[:3]
    for name in names:
        shutil.copy2(SAMPLES / name, tmp_path)
    assert fingerprint(tmp_path, names, 32) == fingerprint(SAMPLES, names, 32)
    assert fingerprint(tmp_path, names, 32) != fingerprint(tmp_path, names, 64)
    assert fingerprint(tmp_path, names[1:]) != fingerprint(tmp_path, names)
    (tmp_path / names[0]).touch()
    assert fingerprint(tmp_path, names) != fingerprint(SAMPLES, names)
    assert fingerprint(tmp_path, names, times=False) == fingerprint(SAMPLES, names, times=False)
    (tmp_path / names[0]).unlink()
    assert fingerprint(tmp_path, names, times=False) != fingerprint(SAMPLES, names, times=False)


def test_a_content_fingerprint_changes_with_the_bytes_alone(tmp_path: Path) -> None:
    names = find_photographs(SAMPLES)[:3]
    for name in names:
        shutil.copy(SAMPLES / name, tmp_path)
    assert content_fingerprint(tmp_path, names) == content_fingerprint(SAMPLES, names)
    shutil.copy(SAMPLES / names[1], tmp_path / names[0])
    assert content_fingerprint(tmp_path, names) != content_fingerprint(SAMPLES, names)


def test_beside_labels_of_val_and_test_what_has_none_is_for_training() -> None:
    names = [f"{number}.jpg" for number in range(6)]
    splits = split_photographs(names, 0.5, 0.5, 0, ["", "", "test", "validation", "", "test"])
    assert splits == {"train": ["0.jpg", "1.jpg", "4.jpg"], "val": ["3.jpg"], "test": ["2.jpg", "5.jpg"]}


def test_a_list_with_photographs_for_val_and_test_alone_has_none_for_training() -> None:
    names = [f"{number}.jpg" for number in range(40)]
    assert split_photographs(names, 0.5, 0.5, 0, ["test"] * 40) == {"train": [], "val": [], "test": names}
    both = split_photographs(names, 0.5, 0.5, 0, ["Test"] * 20 + ["valid"] * 20)
    assert both == {"train": [], "val": names[20:], "test": names[:20]}


def test_beside_tables_of_val_and_test_those_with_other_names_are_for_training() -> None:
    names = ["extra-0.parquet/00000000", "more.parquet/00000000", "test-0.parquet/00000000"]
    splits = split_photographs(names, 0.0, 0.5, 0, ["extra", "more", "test"])
    assert splits == {"train": names[:2], "val": [], "test": names[2:]}
