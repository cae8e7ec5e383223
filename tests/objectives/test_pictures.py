"""The true picture, with raised colors."""

import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from colorlab.color import lab_to_rgb
from colorlab.data.batch import Batch
from colorlab.objectives.pictures import true_picture


def batch_of(ab: Tensor) -> Batch:
    return Batch(torch.rand_like(ab[:, :1]) * 100, ab, torch.arange(len(ab)))


def test_without_a_factor_it_is_the_photograph(ab: Tensor) -> None:
    batch = batch_of(ab.requires_grad_())
    picture = true_picture(batch)
    assert torch.equal(picture, lab_to_rgb(batch.L, batch.ab))
    assert not picture.requires_grad


def test_raised_colors_equal_pillows_enhancement(ab: Tensor) -> None:
    """Pillow rounds the gray and the result."""
    batch = batch_of(ab)
    for picture, raised in zip(true_picture(batch), true_picture(batch, 1.2), strict=True):
        image: Image.Image = to_pil_image((picture * 255).round().byte())
        expected = pil_to_tensor(ImageEnhance.Color(image).enhance(1.2))
        assert (raised * 255 - expected).abs().max() < 2
        assert not torch.equal(raised, picture)
