"""Pictures in color spaces other than sRGB."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from colorlab.images.frames import PictureFile
from colorlab.images.profiles import SRGB, space_of
from support.image_files import read_pixels, swap_primaries


def test_an_icc_profile_is_honored(macaw: Image.Image, tmp_path: Path) -> None:
    """The same numbers under another profile are other colors; under sRGB's they stay."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    macaw.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert np.array_equal(read_pixels(tmp_path / "srgb.png"), np.asarray(macaw))
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    assert ImageCms.applyTransform(macaw, to_lab).mode == "LAB"
    swapped = swap_primaries(srgb)
    macaw.save(tmp_path / "swapped.png", icc_profile=swapped)
    assert np.abs(read_pixels(tmp_path / "swapped.png").astype(int) - np.asarray(macaw)[..., [2, 1, 0]]).max() <= 3


def test_a_profile_is_srgb_by_its_colors_not_by_its_name(macaw: Image.Image, tmp_path: Path) -> None:
    """As "GIMP built-in Linear sRGB" is none, nor "D65 Grayscale with sRGB TRC"; and a nameless one may be."""
    srgb, gray = SRGB, imagecodecs.cms_profile("gray", gamma=1.0)
    unnamed = srgb.replace("sRGB".encode("utf-16-be"), "c2ci".encode("utf-16-be"))
    named = gray.replace("gray".encode("utf-16-be"), "sRGB".encode("utf-16-be"))
    assert unnamed != srgb
    assert named != gray
    assert space_of(unnamed) is None
    assert space_of(swap_primaries(srgb)).name == "rgb"
    for name, profile in {"gray": gray, "named": named}.items():
        macaw.convert("L").save(tmp_path / f"{name}.png", icc_profile=profile)
    assert np.array_equal(read_pixels(tmp_path / "named.png"), read_pixels(tmp_path / "gray.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_gray_icc_profile_is_honored(macaw: Image.Image, tmp_path: Path, suffix: str) -> None:
    """Values in linear light, as the profile says, are lighter than they look."""
    gray = np.asarray(macaw.convert("L")) / 255
    linear = np.where(gray <= 0.04045, gray / 12.92, ((gray + 0.055) / 1.055) ** 2.4)
    profile = imagecodecs.cms_profile("gray", gamma=1.0)
    stored = Image.fromarray(np.rint(linear * 255).astype(np.uint8))
    stored.save(tmp_path / f"x.{suffix}", icc_profile=profile, **({"quality": 100} if suffix == "jpg" else {}))
    light = gray > 0.3  # where 8 bits in linear light are enough
    assert np.abs(read_pixels(tmp_path / f"x.{suffix}")[light] / 255 - gray[light][:, None]).max() < 0.02


@pytest.mark.parametrize("mode", ["LA", "La", "P", "PA", "L with a transparent color", "P with a transparent color"])
def test_a_gray_icc_profile_is_honored_in_every_mode(macaw: Image.Image, tmp_path: Path, mode: str) -> None:
    """With alpha and with a palette it shows what the same values show without."""
    gray, profile = macaw.convert("L"), imagecodecs.cms_profile("gray", gamma=1.0)
    gray.save(tmp_path / "plain.png", icc_profile=profile)
    name, _, transparent = mode.partition(" ")
    path = tmp_path / ("x.tif" if name in ("La", "PA") else "x.png")
    if name == "La":  # which Pillow does not write
        opaque = np.asarray(gray.convert("LA"))
        tifffile.imwrite(path, opaque, photometric="minisblack", extrasamples=["assocalpha"], iccprofile=profile)
    else:
        gray.convert(name).save(path, icc_profile=profile, **({"transparency": 255} if transparent else {}))
    expected = read_pixels(tmp_path / "plain.png")
    assert np.array_equal(read_pixels(path), expected)
    (frame,) = PictureFile.of(path).frames()
    assert np.abs(frame.pixels / 257 - expected).max() <= 1
