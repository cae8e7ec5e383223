"""The formulas of a GPU, against scikit-image and kornia."""

import kornia
import numpy as np
import pytest
import torch

from colorlab.color import lab_to_rgb, lightness_of
from colorlab.color.formulas import gray_rgb, rgb_to_lab_by_formulas
from support.colors import TOLERANCE, around_the_knees, cube_faces, dark, grays, photographs, reference


@pytest.mark.parametrize("colors", [grays, cube_faces, photographs, dark, around_the_knees])
def test_the_formulas_equal_scikit_image_and_kornia(colors) -> None:
    rgb = colors().float() / (1 if colors().is_floating_point() else 255)
    lab = rgb_to_lab_by_formulas(rgb)
    assert np.abs(lab[0].numpy() - reference(rgb)).max() < TOLERANCE
    assert (lab - kornia.color.rgb_to_lab(rgb)).abs().max() < TOLERANCE
    odd = rgb * 3 - 1  # below 0 and above 1
    assert torch.allclose(rgb_to_lab_by_formulas(odd), kornia.color.rgb_to_lab(odd), rtol=1e-5, atol=1e-3)


def test_the_formulas_have_kornias_gradient() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, theirs = (rgb.clone().requires_grad_() for _ in range(2))
    rgb_to_lab_by_formulas(ours).square().sum().backward()
    kornia.color.rgb_to_lab(theirs).square().sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-2)


def test_gray_pictures_of_a_lightness_are_those_of_kornia_on_one_channel() -> None:
    lightness = torch.linspace(0, 100, 2001).view(1, 1, 3, 667)
    rgb = gray_rgb(lightness)
    assert rgb.shape == (1, 3, 3, 667)
    assert torch.equal(rgb[:, :1], rgb[:, 1:2])
    assert (rgb - lab_to_rgb(lightness, torch.zeros(1, 2, 3, 667))).abs().max() < 1e-4
    assert (lightness_of(rgb[:, :1]) - lightness).abs().max() < 1e-3
    assert gray_rgb(lightness.bfloat16()).dtype == torch.float32
