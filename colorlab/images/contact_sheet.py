"""Contact sheets: one row per photograph, one column per version of it."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from colorlab.color import from_float, lab_to_rgb
from colorlab.files import atomic_path

CELL, GAP, CAPTION, HEADER = 192, 6, 22, 30
"""Sizes in pixels."""

INK, PAPER = "#222222", "#ffffff"
CONTENT = "colorlab sheet"
"""The key of the PNG text that says which picture is where."""


class Row(NamedTuple):
    """One photograph: its pictures by column heading, and their captions."""

    pictures: dict[str, Image.Image]
    captions: dict[str, str]  # by column heading; the name of the row elsewhere


class _Content(NamedTuple):
    name: str
    captions: dict[str, str]
    boxes: dict[str, tuple[int, int, int, int]]  # left, top, right, bottom


def picture_of(lightness: Tensor, ab: Tensor) -> Image.Image:
    """Return L [1, 1, H, W] and ab [1, 2, H, W] as a PIL image."""
    return to_pil_image(from_float(lab_to_rgb(lightness, ab)[0], torch.uint8).cpu())


def draw_sheet(rows: list[tuple[str, Row]], blocks: int = 2) -> Image.Image:
    """Draw named rows of pictures under their headings.

    Args:
        rows: names and rows, all with the columns of the first.
        blocks: how many groups of rows stand side by side.

    Returns:
        The sheet, whose `info` holds what `save_sheet` writes for `read_sheet`.
    """
    content = [_Content(name, row.captions, {}) for name, row in rows]
    blocks = min(blocks, len(rows))
    lines = -(-len(rows) // blocks)
    headings = list(rows[0][1].pictures)
    block_width = len(headings) * (CELL + GAP) + 2 * GAP
    sheet = Image.new("RGB", (blocks * block_width + GAP, HEADER + lines * (CELL + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(18), ImageFont.load_default(14)
    for block in range(blocks):
        for column, heading in enumerate(headings):
            x = 2 * GAP + block * block_width + column * (CELL + GAP)
            draw.text((x + CELL / 2, HEADER / 2), _shortened(heading, title), INK, title, anchor="mm")
            for line, (name, row) in enumerate(rows[block * lines : (block + 1) * lines]):
                y = HEADER + line * (CELL + CAPTION + GAP)
                cell = ImageOps.contain(row.pictures[heading], (CELL, CELL), Image.Resampling.BICUBIC)
                left, top = x + (CELL - cell.width) // 2, y + (CELL - cell.height) // 2
                sheet.paste(cell, (left, top))
                content[block * lines + line].boxes[heading] = (left, top, left + cell.width, top + cell.height)
                caption = row.captions.get(heading, _shortened(name, small))
                draw.text((x + CELL / 2, y + CELL + CAPTION / 2), caption, INK, small, anchor="mm")
    sheet.info[CONTENT] = json.dumps([each._asdict() for each in content])
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as a PNG that `read_sheet` can read, atomically."""
    content = PngInfo()
    content.add_itxt(CONTENT, sheet.info[CONTENT])
    with atomic_path(path) as part:
        sheet.save(part, "PNG", pnginfo=content)


def read_sheet(path: Path) -> list[tuple[str, Row]]:
    """Return the named rows of a saved sheet, with the pictures as small as they are in it.

    The list is empty if the file was not written by `save_sheet`.

    Raises:
        OSError, ValueError: the file is damaged.
    """
    with Image.open(path) as sheet:
        sheet.load()
    try:
        content = [_Content(**each) for each in json.loads(sheet.info.get(CONTENT, "[]"))]
        boxes = [box for each in content for box in each.boxes.values()]
        inside = all(0 <= x <= x2 <= sheet.width and 0 <= y <= y2 <= sheet.height for x, y, x2, y2 in boxes)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a sheet of colorlab.") from error
    if not inside:
        raise ValueError(f"{path} is smaller than it says.")
    return [
        (each.name, Row({heading: sheet.crop(box) for heading, box in each.boxes.items()}, each.captions))
        for each in content
    ]


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut the beginning of a name, which its neighbors share, until it fits under a picture."""
    if font.getlength(name) <= CELL:
        return name
    while font.getlength("…" + name) > CELL:
        name = name[1:]
    return "…" + name
