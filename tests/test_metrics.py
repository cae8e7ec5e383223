"""The scores of a picture against scikit-image and plain NumPy, on built-in photographs."""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb
from skimage.metrics import peak_signal_noise_ratio

from colorlab.color import rgb_to_lab
from colorlab.data.images import SAMPLES, find_photographs, read_photograph
from colorlab.metrics import colorfulness, scores


@pytest.fixture(scope="module")
def rgb() -> torch.Tensor:
    """Five photographs at 96², in 0..1."""
    names = find_photographs(SAMPLES)[::45]
    return torch.stack([read_photograph(SAMPLES / name)[:, 40:136, 40:136] for name in names]).float() / 255


def numpy_colorfulness(rgb: np.ndarray) -> float:
    """By the definition's words. rgb: [H, W, 3] in 0..1."""
    red, green, blue = (rgb[..., channel] * 255 for channel in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


def test_colorfulness_equals_the_definition(rgb: torch.Tensor) -> None:
    expected = [numpy_colorfulness(picture) for picture in rgb.double().permute(0, 2, 3, 1).numpy()]
    assert colorfulness(rgb).tolist() == pytest.approx(expected, rel=1e-5)
    assert colorfulness(rgb[:, :1].expand(-1, 3, -1, -1)).max() < 1e-4


def test_the_scores_of_a_batch_are_those_of_its_pictures(rgb: torch.Tensor) -> None:
    lightness, true = rgb_to_lab(rgb)
    predicted = true * 0.5 + 3
    found = scores(lightness, predicted, true)
    for place in range(len(rgb)):
        pictures = {}
        for name, ab in (("true", true), ("predicted", predicted), ("gray", true * 0)):
            lab = torch.cat((lightness, ab), dim=1)[place].permute(1, 2, 0).double().numpy()
            pictures[name] = lab2rgb(lab).clip(0, 1)
        for name, score in (("predicted", "psnr"), ("gray", "psnr_gray")):
            expected = peak_signal_noise_ratio(pictures["true"], pictures[name], data_range=1)
            assert found[score][place].item() == pytest.approx(expected, abs=1e-3)
        for name, score in (("predicted", "colorfulness"), ("true", "colorfulness_true")):
            assert found[score][place].item() == pytest.approx(numpy_colorfulness(pictures[name]), rel=1e-3)
