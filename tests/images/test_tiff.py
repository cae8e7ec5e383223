"""TIFFs of 16 bits a value, against Pillow's reading of the same in 8."""

import struct
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from colorlab.images.frames import PictureFile
from support.image_files import read_pixels


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize(
    ("mode", "photometric", "extra"),
    [("CMYK", "separated", None), ("CMYK with a profile", "separated", None), ("RGB", "rgb", None),
     ("RGBA", "rgb", "unassalpha"), ("RGBa", "rgb", "assocalpha"), ("RGBX", "rgb", "unspecified"),
     ("LA", "minisblack", "unassalpha"), ("La", "minisblack", "assocalpha"), ("LX", "minisblack", "unspecified")],
)  # fmt: skip
def test_a_tiff_of_16_bits_shows_what_it_does_in_8(
    macaw: Image.Image, tmp_path: Path, mode: str, photometric: str, extra: str | None, planes: str
) -> None:
    """Which Pillow reads: inks, alpha that colors were multiplied by, and a channel of no meaning, too."""
    stored = stored_in(mode, macaw)
    options = {"photometric": photometric, "extrasamples": extra and [extra]}
    options["iccprofile"] = ink_profile() if "profile" in mode else None
    path, reference = tmp_path / "x.tif", tmp_path / "reference.tif"
    tifffile.imwrite(reference, stored, planarconfig="contig", **options)
    deep = stored.astype(np.uint16) * 257
    deep = np.moveaxis(deep, -1, 0) if planes == "separate" else deep
    tifffile.imwrite(path, deep, planarconfig=planes, **options)
    assert np.abs(read_pixels(path).astype(int) - read_pixels(reference)).max() <= 1
    (frame,), (known,) = PictureFile.of(path).frames(), PictureFile.of(reference).frames()
    shown = slice(None) if known.alpha is None else known.alpha > 0
    known_pixels = known.pixels / (257 if known.pixels.dtype == np.uint16 else 1)
    assert frame.pixels.dtype == np.uint16
    assert np.abs(frame.pixels / 257 - known_pixels)[shown].max() <= 1
    assert (frame.alpha is None) == (known.alpha is None)
    assert frame.alpha is None or np.array_equal(frame.alpha, known.alpha * np.uint16(257))


def stored_in(mode: str, picture: Image.Image) -> np.ndarray:
    """A picture's values in a mode, [H, W, C], with alpha of several strengths in its last channel if it has one."""
    bands = np.asarray(picture.convert({"L": "L", "R": "RGB", "C": "CMYK"}[mode[0]]))
    bands = bands[..., None] if bands.ndim == 2 else bands
    if mode in ("RGB", "CMYK", "CMYK with a profile"):
        return bands
    height, width = bands.shape[:2]
    alpha = np.tile(np.resize(np.repeat([0, 51, 128, 255], 40), (width, 1)).astype(np.uint8), (height, 1, 1))
    if mode.endswith("a"):
        bands = (bands * (alpha / 255)).round().astype(np.uint8)
    return np.concatenate([bands, alpha], axis=-1)


def ink_profile() -> bytes:
    """A profile for CMYK, which no library at hand makes: two points an ink, each leading to a color in Lab."""
    lab = []
    for cyan, magenta, yellow, black in product((0, 1), repeat=4):
        lightness = 100 * (1 - black) * (1 - 0.2 * (cyan + magenta + yellow))
        a, b = 60 * (magenta - cyan) * (1 - black), 60 * (yellow - 0.5 * (cyan + magenta)) * (1 - black)
        lab += [round(lightness * 652.8), round((a + 128) * 256), round((b + 128) * 256)]
    straight = (0, 65535)
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int).ravel() << 16))
    table += struct.pack(">2H8H48H6H", 2, 2, *straight * 4, *lab, *straight * 3)
    white = struct.pack(">3i", 63190, 65536, 54061)
    head = bytes([2, 64, 0, 0]) + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28) + white + bytes(48)
    body = bytes(4) + head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    return struct.pack(">I", len(body) + 4) + body


def test_ink_on_white_is_turned_round_and_its_alpha_is_not(tmp_path: Path) -> None:
    ink, alpha = np.array([[0, 300, 65535]], np.uint16), np.array([[65535, 20000, 0]], np.uint16)
    stored = np.dstack([ink, alpha])
    tifffile.imwrite(path := tmp_path / "x.tif", stored, photometric="miniswhite", extrasamples=["unassalpha"])
    (frame,) = PictureFile.of(path).frames()
    assert np.array_equal(frame.pixels, 65535 - ink)
    assert np.array_equal(frame.alpha, alpha)


def test_a_fourth_channel_without_a_word_of_it_is_alpha_as_in_8_bits(macaw: Image.Image, tmp_path: Path) -> None:
    stored, read_as = stored_in("RGBA", macaw), []
    for pixels in (stored, stored.astype(np.uint16) * 257):
        tifffile.imwrite(path := tmp_path / "x.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
        said, other = struct.pack("<HHI", 338, 3, 1), struct.pack("<HHI", 337, 3, 1)
        path.write_bytes(path.read_bytes().replace(said, other))
        read_as.append(read_pixels(path))
    assert (read_as[0][:, :40] == 255).all()
    assert np.abs(read_as[0].astype(int) - read_as[1]).max() <= 1


DEEP = np.full((16, 16), 500, np.uint16)
MIXED = {"photometric": "minisblack", "planarconfig": "contig"}
REFUSED = [
    ("CIELAB is not read", [(np.dstack([DEEP] * 3), {"photometric": "cielab"})]),
    ("PALETTE is not read", [(DEEP, {"photometric": "palette", "colormap": np.zeros((3, 2**16), np.uint16)})]),
    ("CFA is not read", [(DEEP, {"photometric": "cfa"})]),
    ("other bits than the first", [(DEEP, {}), (DEEP.astype(np.float32), {})]),
    ("other bits than the first", [(DEEP, {}), (DEEP.astype(np.uint8), {})]),
    ("more than colors and alpha", [(np.dstack([DEEP] * 3), MIXED)]),
    ("more than colors and alpha", [(np.dstack([DEEP] * 5), {**MIXED, "photometric": "rgb"})]),
    ("more than colors and alpha", [(np.stack([DEEP] * 4), {"volumetric": True, "tile": (4, 16, 16)})]),
]


@pytest.mark.parametrize(("reason", "pages"), REFUSED)
def test_a_deep_tiff_of_what_is_not_known_is_refused(
    tmp_path: Path, reason: str, pages: list[tuple[np.ndarray, dict]]
) -> None:
    with tifffile.TiffWriter(path := tmp_path / "x.tif") as tiff:
        for page, options in pages:
            tiff.write(page, **{"photometric": "minisblack", **options})
    with pytest.raises(ValueError, match=reason):
        list(PictureFile.of(path).frames())
