"""RGB ⇄ Lab against scikit-image in float64."""

from itertools import product

import kornia
import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from colorlab.color import _rgb_to_lab_by_formulas, exact, lab_to_rgb, lightness_of, rgb_to_lab
from colorlab.data.splits import SAMPLES
from colorlab.images.decoding import read_photograph

TOLERANCE = 1e-4
"""Of L, a and b, in CIE units."""


def grays() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)


def cube_faces() -> torch.Tensor:
    """Every color with at least one channel at 0 or 255, in steps of 5."""
    steps = range(0, 256, 5)
    faces = [color for color in product(steps, repeat=3) if 0 in color or 255 in color]
    return torch.tensor(faces, dtype=torch.uint8).T[None, :, None]


def photographs() -> torch.Tensor:
    names = "fishes_fish1", "erase_kingfisher", "explore_world_animals_scarlet_macaw"
    pixels = [read_photograph(SAMPLES / f"{name}.jpg").flatten(1) for name in names]
    return torch.cat(pixels, dim=1)[None, :, None]


def dark() -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(0, 64, 3, dtype=torch.uint8)] * 3).T[None, :, None]


def around_the_knees() -> torch.Tensor:
    """Fractions, gray and not, on both sides of where each curve goes over from a line to a power."""
    srgb = 0.04045 + torch.linspace(-2e-3, 2e-3, 2000)
    light = 0.008856 + torch.linspace(-1e-3, 1e-3, 2000)
    gray = torch.cat([srgb, 1.055 * light ** (1 / 2.4) - 0.055]).expand(3, -1)
    return torch.cat([gray, gray * torch.tensor([[1.0], [0.8], [0.6]])], dim=1)[None, :, None]


def reference(rgb: torch.Tensor) -> np.ndarray:
    whole = 1 if rgb.is_floating_point() else 255
    return rgb2lab(rgb[0].permute(1, 2, 0).double().numpy() / whole).transpose(2, 0, 1)


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
def test_the_way_to_lab_and_back_returns_every_color(colors, autocast: bool) -> None:
    rgb = colors()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        back = lab_to_rgb(*rgb_to_lab(rgb))
    assert (back - rgb / 255).abs().max() < 1e-4
    assert torch.equal((back * 255).round().byte(), rgb)


def test_kornias_lab_and_ours_of_a_cpu_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = cube_faces().flip(1)
    ours = torch.cat(rgb_to_lab(rgb), dim=1)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # the other case in which it is kornia's
    theirs = torch.cat(rgb_to_lab(rgb), dim=1)
    assert torch.equal(theirs, kornia.color.rgb_to_lab(rgb.float() / 255))
    assert (theirs - ours).abs().max() < TOLERANCE


@pytest.mark.parametrize("colors", [grays, cube_faces, photographs, dark, around_the_knees])
def test_the_formulas_of_a_gpu_are_those_of_scikit_image_and_of_kornia(colors) -> None:
    rgb = colors().float() / (1 if colors().is_floating_point() else 255)
    lab = _rgb_to_lab_by_formulas(rgb)
    assert np.abs(lab[0].numpy() - reference(rgb)).max() < TOLERANCE
    assert (lab - kornia.color.rgb_to_lab(rgb)).abs().max() < TOLERANCE
    odd = rgb * 3 - 1  # below 0 and above 1
    assert torch.allclose(_rgb_to_lab_by_formulas(odd), kornia.color.rgb_to_lab(odd), rtol=1e-5, atol=1e-3)


def test_the_formulas_have_kornias_gradient() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, theirs = (rgb.clone().requires_grad_() for _ in range(2))
    _rgb_to_lab_by_formulas(ours).square().sum().backward()
    kornia.color.rgb_to_lab(theirs).square().sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-2)


def test_black_and_white_are_the_ends_of_the_scale() -> None:
    for rgb in (grays(), grays() / 255):
        lightness, ab = rgb_to_lab(rgb)
        assert lightness[..., 0] == 0
        assert lightness[..., 255].item() == pytest.approx(100, abs=3e-5)
        assert not ab[..., 0].any()
        assert torch.equal(lightness_of(rgb)[..., 0], lightness[..., 0])


def test_a_gradient_and_what_lies_outside_0_to_1_are_kornias() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, theirs = (rgb.clone().requires_grad_() for _ in range(2))
    torch.cat(rgb_to_lab(ours), dim=1).square().sum().backward()
    kornia.color.rgb_to_lab(theirs).square().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    for odd in (1.5, -0.2, float("nan")):
        rgb[0, 0, 0, 0] = odd
        found, expected = torch.cat(rgb_to_lab(rgb), dim=1), kornia.color.rgb_to_lab(rgb)
        assert torch.equal(found.nan_to_num(1e4), expected.nan_to_num(1e4))


def test_bytes_and_fractions_mean_the_same_color() -> None:
    rgb = cube_faces()
    for one, other in zip(rgb_to_lab(rgb), rgb_to_lab(rgb / 255), strict=True):
        assert (one - other).abs().max() < TOLERANCE


def test_pictures_of_any_number_shape_and_layout_are_converted_one_like_the_other() -> None:
    """A CPU converts in parts: none is forgotten, none is put in another's place."""
    rgb = torch.randint(0, 256, (3, 3, 300, 301), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    layouts = rgb, rgb.contiguous(memory_format=torch.channels_last), rgb.transpose(2, 3).contiguous().transpose(2, 3)
    for one in layouts:
        lab = torch.cat(rgb_to_lab(one), dim=1)
        for picture, converted in zip(rgb, lab, strict=True):
            assert np.abs(converted.numpy() - reference(picture[None])).max() < TOLERANCE
    lightness, ab = rgb_to_lab(rgb[:0])
    assert lightness.shape == (0, 1, 300, 301)
    assert ab.shape == (0, 2, 300, 301)


def test_lab_is_exact_where_new_tensors_are_bf16_by_default() -> None:
    rgb = torch.linspace(0, 1, 3 * 64).reshape(1, 3, 8, 8)
    expected = lab_to_rgb(*rgb_to_lab(rgb)), *rgb_to_lab(rgb)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = lab_to_rgb(*rgb_to_lab(rgb)), *rgb_to_lab(rgb)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_tf32_is_given_back_as_it_was_found() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    try:
        for setting in (True, False):
            matmul.allow_tf32 = setting
            rgb_to_lab(grays())
            assert matmul.allow_tf32 is setting
    finally:
        matmul.allow_tf32 = before


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_l_alone_is_that_of_scikit_image(dtype: torch.dtype, channels: int) -> None:
    scaled = torch.rand(1, channels, 40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = 1 if dtype.is_floating_point else torch.iinfo(dtype).max
    picture = (scaled * whole).to(dtype)
    rgb = (picture.double() / whole).expand(-1, 3, -1, -1)[0].movedim(0, -1).numpy()
    assert np.abs(lightness_of(picture)[0, 0].numpy() - rgb2lab(rgb)[..., 0]).max() < 1e-4


def test_colors_outside_srgb_give_way_to_l_if_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    lightness = torch.rand(1, 1, 60, 80, generator=generator) * 100
    ab = torch.rand(1, 2, 60, 80, generator=generator) * 255 - 128
    kept = rgb_to_lab(lab_to_rgb(lightness, ab, keep_L=True))
    clipped = rgb_to_lab(lab_to_rgb(lightness, ab))
    assert (kept[0] - lightness).abs().max() < 0.01
    assert (clipped[0] - lightness).abs().max() > 10
    inside = torch.rand(1, 3, 60, 80, generator=generator)
    assert torch.equal(lab_to_rgb(*rgb_to_lab(inside), keep_L=True), lab_to_rgb(*rgb_to_lab(inside)))


def test_of_two_threads_the_last_one_out_restores_the_settings() -> None:
    first, second = exact(torch.device("cpu")), exact(torch.device("cpu"))
    torch.set_default_dtype(torch.bfloat16)
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
