"""The 313 bins against brute force in float64 and against SciPy."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from torch import Tensor

from colorlab.bins import CENTERS, COUNT, annealed_mean, mode, prior_of_histogram, rebalancing, soft_encode
from colorlab.color import rgb_to_lab
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.images.decoding import read_photograph


@cache
def gamut() -> Tensor:
    """Return colors, [1, 2, N, 1]: a grid through the RGB cube, the whole ab square, and the edges of the cells."""
    axis = torch.arange(0, 256, 7.5).to(torch.uint8)
    cube = torch.cartesian_prod(axis, axis, axis).T[None, :, :, None]
    square = torch.rand(2, 20_000, generator=torch.Generator().manual_seed(0)) * 255 - 128
    grid = torch.cartesian_prod(*[torch.arange(-127.5, 127.5, 2.5)] * 2).T
    return torch.cat([rgb_to_lab(cube)[1], torch.cat([square, grid], dim=1)[None, :, :, None]], dim=2)


@cache
def distances() -> np.ndarray:
    """Return the distance of each of these colors to each center: [N, 313] float64."""
    return np.linalg.norm(gamut()[0, :, :, 0].T.double().numpy()[:, None] - CENTERS.double().numpy(), axis=2)


def test_the_centers_are_the_published_ones_in_their_order() -> None:
    assert CENTERS.shape == (313, 2)
    points = [tuple(point) for point in CENTERS.int().tolist()]
    assert points == sorted(set(points))
    assert points[:5] == [(-90, 50), (-90, 60), (-90, 70), (-90, 80), (-90, 90)]
    assert points[-1] == (100, 0)
    rows = [sum(a == row for a, _ in points) for row in range(-90, 110, 10)]
    assert rows == [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_soft_encode_equals_brute_force_over_the_gamut(k: int) -> None:
    index, weight = soft_encode(gamut(), k)
    distance = distances()
    nearest = np.sort(np.partition(distance, k, axis=1)[:, :k], axis=1)
    expected = np.exp(-(nearest**2) / 50)
    near = nearest[:, 0] < 60  # far outside the gamut, brute force has 0 / 0
    mine, share = index[0, :, :, 0].T.numpy(), weight[0, :, :, 0].T.numpy()
    assert (np.sort(mine, axis=1)[:, 1:] != np.sort(mine, axis=1)[:, :-1]).all()
    assert np.abs(np.take_along_axis(distance, mine, axis=1) - nearest).max() < 1e-4
    assert np.abs(share - expected / expected.sum(axis=1, keepdims=True))[near].max() < 1e-5
    assert np.abs(share.sum(axis=1) - 1).max() < 1e-6


def test_soft_encode_keeps_the_shape_of_a_batch() -> None:
    ab = torch.rand(3, 2, 4, 6) * 100 - 50
    index, weight = soft_encode(ab)
    assert index.shape == weight.shape == (3, 5, 4, 6)
    alone, _ = soft_encode(ab[1:2, :, 2:3, 5:6])
    assert torch.equal(alone[0, :, 0, 0], index[1, :, 2, 5])


def test_annealed_mean_is_the_tempered_mean_of_the_centers() -> None:
    logits = torch.randn(2, COUNT, 3, 4) * 3
    for temperature in (1.0, 0.38):
        share = softmax(logits.double().numpy() / temperature, axis=1)
        expected = np.einsum("bqhw,qc->bchw", share, CENTERS.double().numpy())
        assert np.abs(annealed_mean(logits, temperature).numpy() - expected).max() < 1e-3


def test_annealed_mean_tends_to_the_mode() -> None:
    logits = torch.randn(2, COUNT, 3, 4)
    assert torch.equal(mode(logits)[1, :, 2, 3], CENTERS[logits[1, :, 2, 3].argmax()])
    assert torch.allclose(annealed_mean(logits, 1e-4), mode(logits), atol=1e-3)


def test_encoding_and_decoding_returns_colors_inside_the_gamut() -> None:
    """The mean of the 5 nearest centers is within about half a step of the color."""
    photographs = [read_photograph(SAMPLES / name)[None, :, ::8, ::8] for name in find_photographs(SAMPLES)[::20]]
    for rgb in photographs:
        ab = rgb_to_lab(rgb)[1]
        index, weight = soft_encode(ab)
        decoded = (CENTERS[index] * weight[..., None]).sum(dim=1).movedim(-1, 1)
        assert (decoded - ab).abs().max() < 6


def histogram_of_samples() -> Tensor:
    counts = torch.zeros(256, 256, dtype=torch.int64)
    for name in find_photographs(SAMPLES)[::10]:
        ab = rgb_to_lab(read_photograph(SAMPLES / name)[None])[1].round().long() + 128
        counts += torch.bincount((ab[:, 0] * 256 + ab[:, 1]).flatten(), minlength=65536).reshape(256, 256)
    return counts


def test_the_prior_is_the_smoothed_histogram_summed_by_nearest_bin() -> None:
    histogram = histogram_of_samples()
    smooth = gaussian_filter(histogram.double().numpy(), sigma=5, mode="constant", truncate=4)
    axis = np.arange(-128, 128)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    distance = ((grid[:, None] - CENTERS.int().numpy()) ** 2).sum(axis=2)
    prior = prior_of_histogram(histogram)
    ties = (np.sort(distance, axis=1)[:, 0] == np.sort(distance, axis=1)[:, 1]).reshape(256, 256)
    expected = np.bincount(distance.argmin(axis=1), smooth.ravel(), COUNT) / smooth.sum()
    assert prior.sum().item() == pytest.approx(1)
    assert np.abs(prior.numpy() - expected).sum() <= 2 * smooth[ties].sum() / smooth.sum()


@pytest.mark.parametrize("uniform", [0, 0.5, 1])
def test_weights_are_finite_with_mean_one(uniform: float) -> None:
    prior = prior_of_histogram(histogram_of_samples())
    assert (prior == 0).any()
    weight = rebalancing(prior, uniform)
    assert weight.isfinite().all()
    assert weight.min() > 0
    assert (prior * weight).sum().item() == pytest.approx(1)
    occurring = weight[prior > 0]
    if uniform == 1:
        assert torch.allclose(weight, torch.ones_like(weight))
    else:
        rarest, commonest = prior[prior > 0].argmin(), prior[prior > 0].argmax()
        assert occurring[rarest] == occurring.max() == weight.max()
        assert occurring[commonest] == weight.min()
    if uniform == 0:
        assert torch.allclose(occurring * prior[prior > 0], (1 / (prior > 0).sum()).double().expand(len(occurring)))
