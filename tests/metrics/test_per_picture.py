"""Every metric against an independent reference, on built-in photographs."""

import colour
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorlab.color import rgb_to_lab
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.images.decoding import read_photograph
from colorlab.metrics.per_picture import (
    AUC_LIMIT,
    MEASURES,
    Colored,
    colorfulness_of,
    delta_e_2000,
    measure,
    scores,
)


@pytest.fixture(scope="module")
def rgb() -> torch.Tensor:
    """Five photographs at 176², in 0..1."""
    names = find_photographs(SAMPLES)[::45]
    return torch.stack([read_photograph(SAMPLES / name)[:, :176, :176] for name in names]).float() / 255


@pytest.fixture(scope="module")
def colored(rgb: torch.Tensor) -> Colored:
    """A poor prediction for them: half the color, with a cast."""
    lightness, true = rgb_to_lab(rgb)
    return Colored(lightness, true * 0.5 + torch.tensor([3.0, -4.0])[:, None, None], true)


def numpy_pictures(colored: Colored) -> list[tuple[np.ndarray, np.ndarray]]:
    """(predicted, true) of each photograph, [H, W, 3] rgb in float64, by scikit-image."""
    pictures = []
    for ab in (colored.predicted, colored.true):
        lab = torch.cat((colored.lightness, ab), dim=1).permute(0, 2, 3, 1).double().numpy()
        pictures.append([lab2rgb(one).clip(0, 1) for one in lab])
    return list(zip(*pictures, strict=True))


def numpy_colorfulness(rgb: np.ndarray) -> float:
    """Compute the definition. rgb: [H, W, 3] in 0..1."""
    red, green, blue = (rgb[..., channel] * 255 for channel in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


def numpy_ms_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the paper's formula for each channel: contrast and structure at five scales, luminance at the last."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(picture: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(picture, window, axis=0), window, axis=1)[5:-5, 5:-5]

    def terms(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        both = blur(x * y) - mean_x * mean_y
        structure = (2 * both + 0.03**2) / (var_x + var_y + 0.03**2)
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        return structure.mean(), (structure * luminance).mean()

    products = []
    for channel in range(3):
        x, y, product = one[..., channel], other[..., channel], 1.0
        for power in (0.0448, 0.2856, 0.3001, 0.2363):
            product *= terms(x, y)[0] ** power
            x, y = ((p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in (x, y))
        products.append(product * terms(x, y)[1] ** 0.1333)
    return np.mean(products)


def numpy_auc(predicted: np.ndarray, true: np.ndarray) -> float:
    """Compute the definition: the share of pixels within t, for each t, and the area under it."""
    error = np.sqrt(((predicted - true) ** 2).sum(axis=0))
    shares = [np.mean(error <= limit) for limit in range(AUC_LIMIT + 1)]
    return np.trapezoid(shares) / AUC_LIMIT * 100


REFERENCES = {
    "psnr": (lambda one, other: peak_signal_noise_ratio(other, one, data_range=1), 1e-3),
    "ssim": (
        lambda one, other: structural_similarity(
            one, other, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        ),
        1e-5,
    ),
    "ms_ssim": (numpy_ms_ssim, 1e-5),
    "ciede2000": (lambda one, other: deltaE_ciede2000(rgb2lab(one), rgb2lab(other)).mean(), 1e-3),
    "colorfulness": (lambda one, other: numpy_colorfulness(one), 1e-2),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_metric_equals_its_reference(name: str, colored: Colored) -> None:
    reference, tolerance = REFERENCES[name]
    expected = [reference(*pair) for pair in numpy_pictures(colored)]
    assert measure(colored, [name])[name].tolist() == pytest.approx(expected, abs=tolerance)


def test_the_ab_metrics_equal_their_definitions(colored: Colored) -> None:
    pairs = list(zip(colored.predicted.double().numpy(), colored.true.double().numpy(), strict=True))
    rmse = [np.sqrt(((predicted - true) ** 2).mean()) for predicted, true in pairs]
    found = measure(colored, ["auc", "ab_rmse"])
    assert found["ab_rmse"].tolist() == pytest.approx(rmse, rel=1e-5)
    assert found["auc"].tolist() == pytest.approx([numpy_auc(*pair) for pair in pairs], abs=1e-3)


def test_the_auc_of_one_pixel_equals_the_definition() -> None:
    errors = torch.tensor([0.0, 0.3, 1.0, 17.5, 149.2, 150.0, 150.1, 300.0])
    true = torch.zeros(1, 2, 1, len(errors))
    predicted = torch.stack((errors, torch.zeros(len(errors))))[None, :, None]
    for place in range(len(errors)):
        pixel = Colored(torch.full((1, 1, 1, 1), 50.0), predicted[..., place : place + 1], true[..., :1])
        expected = numpy_auc(predicted[0, ..., place : place + 1].numpy(), true[0, ..., :1].numpy())
        assert measure(pixel, ["auc"])["auc"].item() == pytest.approx(expected, abs=1e-4)


def test_delta_e_2000_equals_scikit_image_and_colour_science() -> None:
    random = np.random.default_rng(0)
    lab = random.uniform([0, -110, -110], [100, 110, 110], size=(2, 100_000, 3))
    lab[1, :50_000] = lab[0, :50_000] + random.normal(0, 2, size=(50_000, 3))  # similar colors of every hue
    lab[:, :100, 1:] = 0  # grays have no hue
    lab[1, 100:200, 1:] = 0
    one, other = (torch.from_numpy(side).float().T[None, :, :, None] for side in lab)
    found = delta_e_2000(one, other)[0, :, 0].double().numpy()
    lab = lab.astype(np.float32).astype(np.float64)
    for expected in (deltaE_ciede2000(*lab), colour.delta_E(*lab, method="CIE 2000")):
        assert np.abs(found - expected).max() < 2e-3
        assert np.abs(found - expected).mean() < 1e-5


def test_colorfulness_equals_the_definition(rgb: torch.Tensor) -> None:
    expected = [numpy_colorfulness(picture) for picture in rgb.double().permute(0, 2, 3, 1).numpy()]
    assert colorfulness_of(rgb).tolist() == pytest.approx(expected, rel=1e-5)
    assert colorfulness_of(rgb[:, :1].expand(-1, 3, -1, -1)).max() < 1e-4


def test_the_photograph_itself_has_the_best_scores(colored: Colored) -> None:
    found = measure(Colored(colored.lightness, colored.true, colored.true))
    best = {"psnr": torch.inf, "ssim": 1, "ms_ssim": 1, "ciede2000": 0, "auc": 100, "ab_rmse": 0}
    for name, value in best.items():
        assert found[name].tolist() == pytest.approx([value] * len(colored.true), abs=1e-4)


def test_ssim_is_nan_for_pictures_smaller_than_its_window(colored: Colored) -> None:
    for side, known in ((11, True), (10, False)):
        small = Colored(*(part[..., :side, :40] for part in (colored.lightness, colored.predicted, colored.true)))
        assert bool(measure(small, ["ssim"])["ssim"].isfinite().all()) == known


def test_ms_ssim_is_nan_for_pictures_too_small_for_five_scales(colored: Colored) -> None:
    for side, known in ((175, False), (176, True)):
        small = Colored(*(part[:1, :, :side] for part in (colored.lightness, colored.predicted, colored.true)))
        assert bool(measure(small, ["ms_ssim"])["ms_ssim"].isfinite().all()) == known


def test_autocast_does_not_change_scores(colored: Colored) -> None:
    def fresh() -> Colored:
        return Colored(colored.lightness, colored.predicted, colored.true)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = measure(fresh())
    for name, value in measure(fresh()).items():
        assert torch.equal(mixed[name], value)


def test_the_scores_of_a_batch_equal_those_of_its_pictures(colored: Colored) -> None:
    batch = (colored.lightness, colored.predicted, colored.true)
    found = scores(*batch, MEASURES)
    pictures = numpy_pictures(Colored(colored.lightness, colored.true * 0, colored.true))
    for place, (gray, true) in enumerate(pictures):
        alone = scores(*(part[place : place + 1] for part in batch), MEASURES)
        assert {name: value[place].item() for name, value in found.items()} == pytest.approx(
            {name: value.item() for name, value in alone.items()}, rel=1e-5
        )
        assert alone["psnr_gray"].item() == pytest.approx(peak_signal_noise_ratio(true, gray, data_range=1), abs=1e-3)
        assert alone["colorfulness_true"].item() == pytest.approx(numpy_colorfulness(true), rel=1e-3)
