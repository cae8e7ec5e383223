"""From uint8 pictures to (L, ab), on whatever device they lie."""

from typing import NamedTuple

import torch
from kornia.geometry.transform import crop_and_resize
from torch import Tensor

from colorlab.color import rgb_to_lab


class Batch(NamedTuple):
    """What a model learns from."""

    L: Tensor  # [B, 1, H, W] float32, CIE L* in 0..100
    ab: Tensor  # [B, 2, H, W] float32, CIE a* and b* in -128..127
    index: Tensor  # [B] int64, which photographs these are


class RandomCropFlip:
    """A random resized crop and a horizontal flip, drawn for each picture by itself.

    What a picture gets depends on (seed, epoch, index of the picture) alone: not on its batch, its
    worker, its process or the global random state. So a resumed run and a run on more devices
    augment exactly as an uninterrupted run on one.

    Args:
        size: side of the square that crops are resized to, in pixels; None keeps the picture's size.
            Below the picture's size, crops are about as sharp as the whole pictures of validation.
        scale: the crop's share of the area, drawn uniformly between these two.
        ratio: the crop's width over height, drawn log-uniformly between these two.
        flip: the probability of a flip.
    """

    def __init__(
        self,
        size: int | None = None,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (0.75, 4 / 3),
        flip: float = 0.5,
    ) -> None:
        self.size, self.scale, self.ratio, self.flip = size, scale, ratio, flip

    def __call__(self, rgb: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        """rgb: [B, 3, H, W] float32 → [B, 3, size, size], cropped and flipped."""
        height, width = rgb.shape[-2:]
        draws = torch.stack([_uniforms(5, seed, epoch, int(picture)) for picture in index.tolist()])
        area, shape, down, along, mirror = draws.unbind(dim=1)
        area = self.scale[0] + area * (self.scale[1] - self.scale[0])
        low, high = torch.tensor(self.ratio, dtype=torch.float64).log()
        ratio = torch.exp(low + shape * (high - low))
        crop_height = ((area / ratio).sqrt() * height).clamp(max=height).round().clamp(min=1)
        crop_width = ((area * ratio).sqrt() * width).clamp(max=width).round().clamp(min=1)
        top, left = (down * (height - crop_height + 1)).floor(), (along * (width - crop_width + 1)).floor()
        bottom, right = top + crop_height - 1, left + crop_width - 1
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        boxes = torch.stack([torch.stack(corner, dim=1) for corner in corners], dim=1)
        cropped = crop_and_resize(rgb, boxes.to(rgb), (self.size or height, self.size or width))
        flipped = (mirror < self.flip).to(rgb.device)[:, None, None, None]
        return torch.where(flipped, cropped.flip(-1), cropped)


def _uniforms(count: int, *key: int) -> Tensor:
    """Numbers in [0, 1) that depend on the key alone: [count] float64."""
    seed = hash(key) & (2**63 - 1)  # a tuple of ints hashes alike in every process
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def split_lab(rgb: Tensor, index: Tensor) -> Batch:
    """rgb: [B, 3, H, W], uint8 or float32 in 0..1 → a Batch."""
    lightness, ab = rgb_to_lab(rgb)
    return Batch(lightness, ab, index)
