"""Augmentation and the split into L and ab, on the device."""

import pytest
import torch
from torch import Tensor

from colorlab.color import rgb_to_lab
from colorlab.data.device import RandomCropFlip, split_lab
from colorlab.data.images import SAMPLES, Photographs, find_photographs


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    photographs = Photographs(SAMPLES, find_photographs(SAMPLES)[:6], size=64, fill=False)
    return torch.cat([photographs[index].rgb for index in range(6)]).float() / 255


INDEX = torch.arange(6)


def test_what_a_picture_gets_depends_on_seed_epoch_and_itself_alone(pictures: Tensor) -> None:
    augment = RandomCropFlip()
    together = augment(pictures, INDEX, 1, 2)
    shuffled = augment(pictures.flip(0), INDEX.flip(0), 1, 2)
    assert torch.equal(together, shuffled.flip(0))
    alone = augment(pictures[3:4], INDEX[3:4], 1, 2)
    assert torch.allclose(together[3:4], alone, atol=1e-6)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not torch.allclose(together, augment(pictures, INDEX, seed, epoch), atol=1e-2)


def test_the_global_random_state_is_neither_read_nor_moved(pictures: Tensor) -> None:
    before = torch.get_rng_state()
    first = RandomCropFlip()(pictures, INDEX, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(first, RandomCropFlip()(pictures, INDEX, 0, 0))


def test_a_whole_crop_is_the_picture_and_a_flip_its_mirror(pictures: Tensor) -> None:
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    assert torch.allclose(RandomCropFlip(**whole, flip=0)(pictures, INDEX, 0, 0), pictures, atol=1e-4)
    assert torch.allclose(RandomCropFlip(**whole, flip=1)(pictures, INDEX, 0, 0), pictures.flip(-1), atol=1e-4)


def test_crops_lie_inside_the_picture_and_keep_the_areas_asked_for() -> None:
    """On a ramp of coordinates the corners of the result tell where the crop was."""
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


def test_a_batch_is_l_and_ab_of_the_pictures(pictures: Tensor) -> None:
    batch = split_lab(pictures, INDEX)
    lightness, ab = rgb_to_lab(pictures)
    assert torch.equal(batch.L, lightness)
    assert torch.equal(batch.ab, ab)
    assert torch.equal(batch.index, INDEX)
