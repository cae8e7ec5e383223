"""Random crops and flips of a batch, on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from colorlab.color import exact, to_float


class RandomCropFlip:
    """A random resized crop and a horizontal flip, drawn for each picture separately.

    The draw depends on (seed, epoch, index of the picture) alone: not on the batch, the worker, the
    process or the global random state. So a resumed run and a run on several devices augment exactly
    as an uninterrupted run on one.

    Args:
        size: side of the square that crops are resized to, in pixels; None keeps the picture's size.
            Below the picture's size, crops are about as sharp as the whole pictures of validation.
        scale: range of the crop's share of the area, drawn uniformly.
        ratio: range of the crop's width over its height, drawn log-uniformly.
        flip: probability of a flip.
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
        """Crop, resize and flip pictures.

        Args:
            rgb: [B, 3, H, W], uint8 or float32 in 0..1.
            index: [B] int64, which photographs these are.
            seed, epoch: what the draw depends on besides.

        Returns:
            rgb: [B, 3, size, size] float32 in 0..1.
        """
        height, width = rgb.shape[-2:]
        with exact(rgb.device):
            pixels = to_float(rgb)
            area, shape, down, right, mirror = uniforms(5, seed, epoch, index).unbind(dim=1)
            area = self.scale[0] + area * (self.scale[1] - self.scale[0])
            low, high = map(math.log, self.ratio)
            ratio = torch.exp(low + shape * (high - low))
            crop_height = ((area / ratio).sqrt() * height).clamp(max=height).round().clamp(min=1)
            crop_width = ((area * ratio).sqrt() * width).clamp(max=width).round().clamp(min=1)
            top = (down * (height - crop_height + 1)).floor()
            left = (right * (width - crop_width + 1)).floor()
            samples = self._samples_per_pixel(max(height, width))
            x = _grid_coordinates((self.size or width) * samples, left, crop_width, width)
            x = torch.where(mirror[:, None] < self.flip, x.flip(1), x)
            y = _grid_coordinates((self.size or height) * samples, top, crop_height, height)
            grid = torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), dim=-1)
            cropped = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
            return F.avg_pool2d(cropped, samples) if samples > 1 else cropped

    def _samples_per_pixel(self, side: int) -> int:
        """Return how many samples along each axis a pixel averages: more than one if crops shrink."""
        if self.size is None:
            return 1
        longest = side * min(1, math.sqrt(self.scale[1] * max(self.ratio[1], 1 / self.ratio[0])))
        return max(1, math.ceil(longest / self.size - 0.01))


def _grid_coordinates(count: int, start: Tensor, length: Tensor, side: int) -> Tensor:
    """Return the centers of `count` equal parts of crops, in `grid_sample`'s -1..1: start, length [B] → [B, count]."""
    centers = (torch.arange(count, device=start.device) + 0.5) / count
    return 2 * (start[:, None] + length[:, None] * centers) / side - 1


# -- draws -----------------------------------------------------------------------------------------


GOLDEN = 0x9E3779B97F4A7C15 - 2**64


def uniforms(count: int, seed: int, epoch: int, index: Tensor) -> Tensor:
    """Return numbers in [0, 1) that depend on seed, epoch and index alone: [B] int64 → [B, count] float32.

    Source: the mixing function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). It has no state, so a
    device draws for the whole batch at once, without waiting for the CPU.
    """
    state = torch.zeros_like(index)
    for key in (seed, epoch, index):
        state = _mix(state + key)
    draws = _mix(state[:, None] + GOLDEN * torch.arange(count, device=index.device))
    return _shift_right(draws, 40).float() / 2**24


def _mix(state: Tensor) -> Tensor:
    """Mix int64 so that each bit of the result depends on every bit of the state; overflow wraps around."""
    state = state + GOLDEN
    state = (state ^ _shift_right(state, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    state = (state ^ _shift_right(state, 27)) * (0x94D049BB133111EB - 2**64)
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, bits: int) -> Tensor:
    """Shift int64 to the right and fill with zeros, as if it were unsigned."""
    return (state >> bits) & (2 ** (64 - bits) - 1)
