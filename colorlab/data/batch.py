"""From uint8 pictures to (L, ab), on whatever device they lie."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from colorlab.color import exact, rgb_to_lab


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
        """rgb: [B, 3, H, W], uint8 or float32 in 0..1 → [B, 3, size, size] float32, cropped and flipped."""
        height, width = rgb.shape[-2:]
        with exact(rgb.device):
            pixels = rgb.float() / 255 if rgb.dtype == torch.uint8 else rgb
            area, shape, down, right, mirror = _uniforms(5, seed, epoch, index).unbind(dim=1)
            area = self.scale[0] + area * (self.scale[1] - self.scale[0])
            low, high = map(math.log, self.ratio)
            ratio = torch.exp(low + shape * (high - low))
            crop_height = ((area / ratio).sqrt() * height).clamp(max=height).round().clamp(min=1)
            crop_width = ((area * ratio).sqrt() * width).clamp(max=width).round().clamp(min=1)
            top = (down * (height - crop_height + 1)).floor()
            left = (right * (width - crop_width + 1)).floor()
            finer = self._samples(max(height, width))
            across = _places((self.size or width) * finer, left, crop_width, width)
            across = torch.where(mirror[:, None] < self.flip, across.flip(1), across)
            downward = _places((self.size or height) * finer, top, crop_height, height)
            grid = torch.stack(torch.broadcast_tensors(across[:, None], downward[:, :, None]), dim=-1)
            cropped = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
            return F.avg_pool2d(cropped, finer) if finer > 1 else cropped

    def _samples(self, side: int) -> int:
        """How many samples a side a pixel is the mean of: one, but where crops of a picture shrink."""
        if self.size is None:
            return 1
        longest = side * min(1, math.sqrt(self.scale[1] * max(self.ratio[1], 1 / self.ratio[0])))
        return max(1, math.ceil(longest / self.size - 0.01))


def _places(count: int, start: Tensor, length: Tensor, side: int) -> Tensor:
    """Where on a side, which is -1..1, lie the centers of `count` equal parts of a crop of it: [B] → [B, count]."""
    centers = (torch.arange(count, device=start.device) + 0.5) / count
    return 2 * (start[:, None] + length[:, None] * centers) / side - 1


def _uniforms(count: int, seed: int, epoch: int, index: Tensor) -> Tensor:
    """Numbers in [0, 1) that depend on seed, epoch and index alone, for each index [B]: [B, count] float32.

    Source: the mixing function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), which needs no state: a
    device draws for the whole batch at once, and waits for nobody.
    """
    state = torch.zeros_like(index)
    for key in (seed, epoch, index):
        state = _mix(state + key)
    draws = _mix(state[:, None] + GOLDEN * torch.arange(count, device=index.device))
    return _shifted(draws, 40).float() / 2**24


GOLDEN = 0x9E3779B97F4A7C15 - 2**64


def _mix(state: Tensor) -> Tensor:
    """int64, which wraps around → int64, every bit of which depends on every bit."""
    state = state + GOLDEN
    state = (state ^ _shifted(state, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    state = (state ^ _shifted(state, 27)) * (0x94D049BB133111EB - 2**64)
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """int64 shifted to the right with zeros coming in, as were it unsigned."""
    return (state >> bits) & (2 ** (64 - bits) - 1)


def split_lab(rgb: Tensor, index: Tensor) -> Batch:
    """rgb: [B, 3, H, W], uint8 or float32 in 0..1 → a Batch."""
    lightness, ab = rgb_to_lab(rgb)
    return Batch(lightness, ab, index)
