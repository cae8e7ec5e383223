"""Which files are colored, and where the results go."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorlab.data.splits import SAMPLES
from support.picture_checks import is_colored

PHOTOGRAPH = SAMPLES / "fishes_fish1.jpg"

Colorize = Callable[..., int]


def test_folders_keep_their_structure_and_nothing_is_overwritten(
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


def test_the_suffix_of_a_target_file_decides_the_format(colorize: Colorize, gray: Image.Image) -> None:
    gray.save("old.png")
    assert colorize("old.png", "-o", "deep/new.jpg") == 0
    with Image.open("deep/new.jpg") as colored:
        assert colored.format == "JPEG"


def test_no_picture_replaces_itself_or_another_result(
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


def test_a_file_in_the_place_of_the_folder_is_refused_before_anything_is_colored(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    gray.resize((40, 30)).save("a.png")
    Path("colored").write_text("a file")
    Path("dangling").symlink_to("nowhere")
    for out, file in (
        ("colored", "colored"), ("colored/new", "colored"), ("colored/new.png", "colored"), ("dangling", "dangling"),
    ):  # fmt: skip
        assert colorize("a.png", "-o", out) == 2
        (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: "))
        assert said == f"colorlab: -o {out} cannot be written: {file} is not a folder."
    assert Path("colored").read_text() == "a file"
    assert sorted(os.listdir()) == ["a.png", "colored", "dangling"]


def test_a_file_in_the_place_of_one_of_the_subfolders_is_named(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    for name in ("album/1.png", "album/1932/2.png", "album/1933/3.png", "album/4.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        gray.resize((40, 30)).save(name)
    os.mkdir("new")
    Path("new/1932").write_text("a file")
    Path("new/1933").symlink_to("nowhere")
    Path("new/4.png").symlink_to("nowhere")
    assert colorize("album", "-o", "new") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    assert sorted(said) == [
        "colorlab: album/1932/2.png: new/1932 is not a folder.",
        "colorlab: album/1933/3.png: new/1933 is not a folder.",
        "colorlab: album/4.png: new/4.png exists: --force overwrites it.",
    ]
    assert sorted(path.name for path in Path("new").iterdir() if path.exists()) == ["1.png", "1932"]


def test_two_files_that_get_the_same_suffix_do_not_overwrite_each_other(
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
