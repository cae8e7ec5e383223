"""Random crops and flips."""

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torchvision.transforms.v2.functional import resize, resized_crop

from colorlab.data.augmentation import RandomCropFlip, uniforms
from colorlab.data.photographs import Photographs
from colorlab.data.splits import SAMPLES, find_photographs


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    photographs = Photographs(SAMPLES, find_photographs(SAMPLES)[:6], size=64, fill=False)
    return torch.cat([photographs[index].rgb for index in range(6)]).float() / 255


INDEX = torch.arange(6)


def test_augmentation_depends_on_seed_epoch_and_index_alone(pictures: Tensor) -> None:
    augment = RandomCropFlip()
    together = augment(pictures, INDEX, 1, 2)
    shuffled = augment(pictures.flip(0), INDEX.flip(0), 1, 2)
    assert torch.equal(together, shuffled.flip(0))
    alone = augment(pictures[3:4], INDEX[3:4], 1, 2)
    assert torch.allclose(together[3:4], alone, atol=1e-6)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not torch.allclose(together, augment(pictures, INDEX, seed, epoch), atol=1e-2)


def test_the_global_random_state_is_neither_used_nor_changed(pictures: Tensor) -> None:
    before = torch.get_rng_state()
    first = RandomCropFlip()(pictures, INDEX, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(first, RandomCropFlip()(pictures, INDEX, 0, 0))


def test_the_largest_crop_is_the_picture_and_a_flip_mirrors_it(pictures: Tensor) -> None:
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    assert torch.allclose(RandomCropFlip(**whole, flip=0)(pictures, INDEX, 0, 0), pictures, atol=1e-4)
    assert torch.allclose(RandomCropFlip(**whole, flip=1)(pictures, INDEX, 0, 0), pictures.flip(-1), atol=1e-4)


def test_crops_are_inside_the_picture_and_have_areas_in_the_range() -> None:
    """The picture is a ramp of coordinates, so the corners of the result show where the crop was."""
    down, along = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
    ramp = torch.stack([down, along, down])[None].expand(64, -1, -1, -1)
    crops = RandomCropFlip(scale=(0.3, 0.6), ratio=(0.75, 1.25))(ramp, torch.arange(64), 0, 0)
    top, bottom = crops[:, 0, 0, 0], crops[:, 0, -1, 0]
    left, right = crops[:, 1, 0].amin(1), crops[:, 1, 0].amax(1)
    assert top.min() >= -1e-2
    assert right.max() <= 99 + 1e-2
    area = (bottom - top + 1) * (right - left + 1) / 100**2
    assert area.min() > 0.27
    assert area.max() < 0.63
    assert area.max() - area.min() > 0.2
    mirrored = (crops[:, 1, 0, 0] > crops[:, 1, 0, -1]).float().mean()
    assert 0.3 < mirrored < 0.7


def test_an_enlarged_crop_equals_torchvisions_resized_crop(pictures: Tensor) -> None:
    augment = RandomCropFlip(scale=(0.25, 0.25), ratio=(1.0, 1.0), flip=0)
    down, along = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    places = augment(torch.stack([down, along, down])[None].expand(6, -1, -1, -1), INDEX, 0, 0)
    for picture, place, crop in zip(pictures, places, augment(pictures, INDEX, 0, 0), strict=True):
        top, left = (round(place[axis, 32, 32].item() - 15.75) for axis in (0, 1))
        expected = resized_crop(picture, top, left, 32, 32, [64, 64], antialias=True)
        assert torch.allclose(crop[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4)


def test_a_shrunk_crop_is_antialiased_like_a_validation_picture(pictures: Tensor) -> None:
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0}
    expected = resize(pictures, [24, 24], antialias=True)
    small = RandomCropFlip(24, **whole)(pictures, INDEX, 0, 0)
    aliased = resize(pictures, [24, 24], antialias=False)
    assert small.shape == expected.shape
    assert (small - expected).square().mean() < 0.25 * (aliased - expected).square().mean()


def test_uint8_and_float_are_augmented_alike(pictures: Tensor) -> None:
    stored = (pictures * 255).round().byte()
    assert torch.equal(RandomCropFlip()(stored, INDEX, 0, 0), RandomCropFlip()(stored / 255, INDEX, 0, 0))


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = uniforms(5, 7, 3, torch.arange(20000))
    others = [uniforms(1, *key, torch.arange(20000)) for key in ((8, 3), (7, 4))]
    for column in draws.T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3
    neighbors = torch.cat([draws[1:], draws[:-1], *(other[1:] for other in others)], dim=1)
    correlation = torch.corrcoef(neighbors.T).fill_diagonal_(0)
    assert correlation.abs().max() < 5 / 20000**0.5
