"""RGB ⇄ Lab against scikit-image in float64, and against kornia."""

import kornia
import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from colorlab.color import lab_to_rgb, lightness_of, rgb_to_lab
from support.colors import TOLERANCE, around_the_knees, cube_faces, dark, grays, photographs, reference


@pytest.mark.parametrize("colors", [grays, cube_faces, photographs, dark, around_the_knees])
@pytest.mark.parametrize("autocast", [False, True])
def test_lab_equals_scikit_image_in_float64_even_under_autocast(colors, autocast: bool) -> None:
    rgb = colors()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        lightness, ab = rgb_to_lab(rgb)
    assert lightness.dtype == ab.dtype == torch.float32
    difference = np.abs(torch.cat([lightness, ab], 1)[0].numpy() - reference(rgb))
    assert difference.max() < TOLERANCE


@pytest.mark.parametrize("colors", [grays, cube_faces, photographs])
@pytest.mark.parametrize("autocast", [False, True])
def test_lab_and_back_returns_every_color(colors, autocast: bool) -> None:
    rgb = colors()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        back = lab_to_rgb(*rgb_to_lab(rgb))
    assert (back - rgb / 255).abs().max() < 1e-4
    assert torch.equal((back * 255).round().byte(), rgb)


def test_the_tables_of_a_cpu_equal_kornia(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = cube_faces().flip(1)
    ours = torch.cat(rgb_to_lab(rgb), dim=1)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # makes it use kornia
    theirs = torch.cat(rgb_to_lab(rgb), dim=1)
    assert torch.equal(theirs, kornia.color.rgb_to_lab(rgb.float() / 255))
    assert (theirs - ours).abs().max() < TOLERANCE


def test_black_has_l_0_and_white_100() -> None:
    for rgb in (grays(), grays() / 255):
        lightness, ab = rgb_to_lab(rgb)
        assert lightness[..., 0] == 0
        assert lightness[..., 255].item() == pytest.approx(100, abs=3e-5)
        assert not ab[..., 0].any()
        assert torch.equal(lightness_of(rgb)[..., 0], lightness[..., 0])


def test_gradients_and_values_outside_0_to_1_are_converted_by_kornia() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, theirs = (rgb.clone().requires_grad_() for _ in range(2))
    torch.cat(rgb_to_lab(ours), dim=1).square().sum().backward()
    kornia.color.rgb_to_lab(theirs).square().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    for odd in (1.5, -0.2, float("nan")):
        rgb[0, 0, 0, 0] = odd
        found, expected = torch.cat(rgb_to_lab(rgb), dim=1), kornia.color.rgb_to_lab(rgb)
        assert torch.equal(found.nan_to_num(1e4), expected.nan_to_num(1e4))


def test_bytes_and_fractions_give_the_same_color() -> None:
    rgb = cube_faces()
    for one, other in zip(rgb_to_lab(rgb), rgb_to_lab(rgb / 255), strict=True):
        assert (one - other).abs().max() < TOLERANCE


def test_batches_of_any_size_shape_and_memory_layout_are_converted_alike() -> None:
    """A CPU converts in chunks, each of which belongs in its place."""
    rgb = torch.randint(0, 256, (3, 3, 300, 301), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    layouts = rgb, rgb.contiguous(memory_format=torch.channels_last), rgb.transpose(2, 3).contiguous().transpose(2, 3)
    for one in layouts:
        lab = torch.cat(rgb_to_lab(one), dim=1)
        for picture, converted in zip(rgb, lab, strict=True):
            assert np.abs(converted.numpy() - reference(picture[None])).max() < TOLERANCE
    lightness, ab = rgb_to_lab(rgb[:0])
    assert lightness.shape == (0, 1, 300, 301)
    assert ab.shape == (0, 2, 300, 301)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_lightness_equals_scikit_image(dtype: torch.dtype, channels: int) -> None:
    scaled = torch.rand(1, channels, 40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = 1 if dtype.is_floating_point else torch.iinfo(dtype).max
    picture = (scaled * whole).to(dtype)
    rgb = (picture.double() / whole).expand(-1, 3, -1, -1)[0].movedim(0, -1).numpy()
    assert np.abs(lightness_of(picture)[0, 0].numpy() - rgb2lab(rgb)[..., 0]).max() < 1e-4


def test_keep_l_preserves_the_lightness_of_colors_outside_srgb() -> None:
    generator = torch.Generator().manual_seed(0)
    lightness = torch.rand(1, 1, 60, 80, generator=generator) * 100
    ab = torch.rand(1, 2, 60, 80, generator=generator) * 255 - 128
    kept = rgb_to_lab(lab_to_rgb(lightness, ab, keep_L=True))
    clipped = rgb_to_lab(lab_to_rgb(lightness, ab))
    assert (kept[0] - lightness).abs().max() < 0.01
    assert (clipped[0] - lightness).abs().max() > 10
    inside = torch.rand(1, 3, 60, 80, generator=generator)
    assert torch.equal(lab_to_rgb(*rgb_to_lab(inside), keep_L=True), lab_to_rgb(*rgb_to_lab(inside)))


def test_gradients_to_rgb_are_finite_everywhere_and_right_within_the_gamut() -> None:
    """Black, white, gray, the knees of both curves, and colors far outside sRGB."""
    levels = torch.tensor([0, 1e-4, 0.5, 7.9996, 8, 50, 99.9, 100, 101])
    colors = torch.tensor([0, 1e-6, 5, -40, 80, 128, -300.0])
    L, a, b = (part.reshape(1, 1, -1, 7) for part in torch.meshgrid(levels, colors, colors, indexing="ij"))
    lab = torch.cat([L, a, b], dim=1).requires_grad_()
    rgb = lab_to_rgb(lab[:, :1], lab[:, 1:])
    rgb.sum().backward()
    assert lab.grad.isfinite().all()
    clipped = ((rgb == 0) | (rgb == 1)).all(dim=1, keepdim=True).expand_as(lab)
    assert clipped.any()
    assert not lab.grad[clipped].any()
    inside = ((rgb > 0.01) & (rgb < 0.99)).all(dim=1)[:, None]
    step = 0.02 * torch.tensor([1, 1, -1]).reshape(1, 3, 1, 1)
    low, high = (lab_to_rgb((lab + sign * step)[:, :1], (lab + sign * step)[:, 1:]).detach() for sign in (-1, 1))
    slope = ((high - low) / 2).sum(dim=1, keepdim=True)
    expected = (lab.grad * step).sum(dim=1, keepdim=True)
    assert inside.sum() > 10
    torch.testing.assert_close(expected[inside], slope[inside], rtol=0.02, atol=2e-6)
