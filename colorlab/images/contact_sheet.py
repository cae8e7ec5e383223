"""A sheet of pictures: rows of photographs, columns of what was made of them."""

import json
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from colorlab.color import lab_to_rgb
from colorlab.files import atomic_path

CELL, GAP, CAPTION, HEADER = 192, 6, 22, 30
INK, PAPER = "#222222", "#ffffff"
CONTENT = "colorlab sheet"
"""The text in a sheet's file that says which picture is where."""


class Row(NamedTuple):
    """One photograph: its pictures by the heading of their column, and what stands under them."""

    pictures: dict[str, Image.Image]
    captions: dict[str, str]  # a picture without one is captioned with the row's name


def picture_of(lightness: Tensor, ab: Tensor) -> Image.Image:
    """L [1, 1, H, W] and ab [1, 2, H, W] as a picture."""
    return to_pil_image(lab_to_rgb(lightness, ab)[0].mul(255).round().byte().cpu())  # which alone would round down


def draw_sheet(rows: list[tuple[str, Row]], blocks: int = 2) -> Image.Image:
    """Draw named rows of pictures under their headings, in `blocks` side by side.

    `save_sheet` keeps with it what is where.
    """
    content = [{"name": name, "captions": row.captions, "boxes": {}} for name, row in rows]
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
            draw.text((x + CELL / 2, HEADER / 2), _shorten(heading, title), INK, title, anchor="mm")
            for line, (name, row) in enumerate(rows[block * lines : (block + 1) * lines]):
                y = HEADER + line * (CELL + CAPTION + GAP)
                cell = ImageOps.contain(row.pictures[heading], (CELL, CELL), Image.Resampling.BICUBIC)
                left, top = x + (CELL - cell.width) // 2, y + (CELL - cell.height) // 2
                sheet.paste(cell, (left, top))
                content[block * lines + line]["boxes"][heading] = [left, top, left + cell.width, top + cell.height]
                caption = row.captions.get(heading, _shorten(name, small))
                draw.text((x + CELL / 2, y + CELL + CAPTION / 2), caption, INK, small, anchor="mm")
    sheet.info[CONTENT] = json.dumps(content)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a PNG from which `read_sheet` gets the rows back; it appears only when it is whole."""
    content = PngInfo()
    content.add_itxt(CONTENT, sheet.info[CONTENT])
    with atomic_path(path) as part:
        sheet.save(part, "PNG", pnginfo=content)


def read_sheet(path: Path) -> list[tuple[str, Row]]:
    """The named rows of a sheet, its pictures at the size they have there; none if the file does not say."""
    with Image.open(path) as sheet:
        sheet.load()
    content = json.loads(sheet.info.get(CONTENT, "[]"))
    return [
        (each["name"], Row({name: sheet.crop(box) for name, box in each["boxes"].items()}, each["captions"]))
        for each in content
    ]


def _shorten(name: str, font: ImageFont.FreeTypeFont) -> str:
    """Cut a name's beginning, the part it shares with its neighbors, until it fits under a picture."""
    if font.getlength(name) <= CELL:
        return name
    while font.getlength("…" + name) > CELL:
        name = name[1:]
    return "…" + name
