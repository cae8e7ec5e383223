"""The sheet of pictures that comparisons and evaluations draw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from colorlab.color import rgb_to_lab
from colorlab.images.contact_sheet import (
    CAPTION,
    CELL,
    GAP,
    HEADER,
    Row,
    draw_sheet,
    picture_of,
    read_sheet,
    save_sheet,
)


@pytest.mark.parametrize(("count", "blocks", "lines"), [(1, 1, 1), (2, 2, 1), (3, 2, 2)])
def test_few_photographs_give_a_small_sheet(count: int, blocks: int, lines: int) -> None:
    row = Row(dict.fromkeys(("true", "gray", "predicted"), Image.new("RGB", (16, 16))), {})
    picture = draw_sheet([(f"name{place}", row) for place in range(count)])
    assert picture.size == (blocks * (3 * (CELL + GAP) + 2 * GAP) + GAP, HEADER + lines * (CELL + CAPTION + GAP))


def test_a_picture_keeps_its_shape() -> None:
    wide = Image.new("RGB", (200, 100), "red")
    sheet = draw_sheet([("wide", Row({"true": wide}, {}))])
    column = [sheet.getpixel((2 * GAP + CELL // 2, HEADER + y)) == (255, 0, 0) for y in range(CELL)]
    assert column == [CELL // 4 <= y < 3 * CELL // 4 for y in range(CELL)]


def test_a_saved_sheet_gives_its_pictures_back(tmp_path: Path) -> None:
    sizes = {"wide": (192, 96), "high": (48, 192), "square": (192, 192)}
    rows = [
        (name, Row({color: Image.new("RGB", size, color) for color in ("red", "gray")}, {"gray": "9 dB"}))
        for name, size in sizes.items()
    ]
    save_sheet(draw_sheet(rows), tmp_path / "sheet.png")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    back = read_sheet(tmp_path / "sheet.png")
    assert [name for name, _ in back] == list(sizes)
    for (name, found), (_, drawn) in zip(back, rows, strict=True):
        assert found.captions == drawn.captions
        for heading, picture in found.pictures.items():
            assert picture.size == sizes[name]
            assert picture.tobytes() == drawn.pictures[heading].tobytes()


def test_a_picture_that_is_no_sheet_has_no_rows(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    assert read_sheet(tmp_path / "other.png") == []


def test_a_photograph_becomes_the_very_picture_it_was() -> None:
    rgb = torch.randint(0, 256, (1, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(np.asarray(picture_of(*rgb_to_lab(rgb))), rgb[0].permute(1, 2, 0).numpy())


def test_a_sheet_that_says_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    sheet = draw_sheet([("name", Row({"true": Image.new("RGB", (16, 16))}, {}))])
    for boxes in ("[0, 0, 99999, 99999]", "[-9, 0, 9, 9]", "[]", "[9, 9, 2, 2]"):
        sheet.info["colorlab sheet"] = f'[{{"name": "name", "captions": {{}}, "boxes": {{"true": {boxes}}}}}]'
        save_sheet(sheet, tmp_path / "sheet.png")
        with pytest.raises(ValueError, match=r"sheet\.png"):
            read_sheet(tmp_path / "sheet.png")
