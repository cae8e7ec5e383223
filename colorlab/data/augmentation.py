"""Augmentation of a batch, on its device: our random crops and flips, and modules of other libraries."""

import hashlib
import inspect
import math
import random
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.seed import isolate_rng
from pydantic import PositiveInt
from torch import Tensor, nn

from colorlab.color import exact, to_float
from colorlab.errors import UserError, reason_of


@runtime_checkable
class Augmentation(Protocol):
    """What a batch of training pictures goes through; see `RandomCropFlip`.

    A module whose `forward` takes the pictures alone is one too: see `AugmentationModule`.
    """

    def __call__(self, rgb: Tensor, index: Tensor, seed: int, epoch: int, /) -> Tensor:
        """Change pictures at random: rgb [B, 3, H, W] uint8 or float32 in 0..1 → [B, 3, h, w] float32 in 0..1."""


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

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        size: PositiveInt | None = None,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (0.75, 4 / 3),
        flip: float = 0.5,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(
                f"The crops' scale={list(scale)} must be two rising shares of the area, above 0 and up to 1."
            )
        if not 0 < ratio[0] <= ratio[1]:
            raise UserError(f"The crops' ratio={list(ratio)} must be two rising numbers above 0.")
        if not 0 <= flip <= 1:
            raise UserError(f"The crops' flip={flip:g} must be a probability, from 0 to 1.")
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


# -- modules of other libraries --------------------------------------------------------------------


class AugmentationModule:
    """A module that changes pictures and takes no seed, for example one of `kornia.augmentation`.

    Torch, NumPy and Python draw its random numbers from a seed of their own for each batch, made of (seed, epoch,
    photographs of the batch). So a resumed run repeats them, and the network's random numbers stay as they were. Unlike
    `RandomCropFlip`, a run with another batch size or number of devices draws others.

    Args:
        module: called with rgb, [B, 3, H, W] float32 in 0..1; returns rgb, [B, 3, h, w].
        height, width: of the pictures that it is tried with.
        place: its place among several augmentations; each place draws other numbers.

    Attributes:
        shape: height and width of what it made of these pictures.

    Raises:
        UserError: the module cannot be called so.
    """

    def __init__(self, module: nn.Module, height: int, width: int, place: int = 0) -> None:
        self.module, self.name = module, type(module).__qualname__
        self._place = (place,) if place else ()
        with isolate_rng(include_cuda=False):
            try:
                height_after, width_after = self._apply(torch.full((2, 3, height, width), 0.5)).shape[-2:]
            except UserError:
                raise
            except Exception as error:  # modules raise exceptions of any kind
                message = f"data.augment: {self.name} cannot change pictures of {height}×{width} ({reason_of(error)})."
                raise UserError(message) from error
        self.shape = height_after, width_after

    def __call__(self, rgb: Tensor, photographs: list[int], seed: int, epoch: int) -> Tensor:
        """Change the pictures of the batch with these photographs, as every run with this seed does in this epoch."""
        key = hashlib.blake2b(repr((seed, epoch, photographs, *self._place)).encode(), digest_size=4).digest()
        with isolate_rng(), exact(rgb.device):
            number = int.from_bytes(key)
            torch.manual_seed(number)
            np.random.seed(number)
            random.seed(number)
            return self._apply(to_float(rgb))

    @torch.no_grad()
    def _apply(self, rgb: Tensor) -> Tensor:
        changed = self.module.to(rgb.device)(rgb)
        if not isinstance(changed, Tensor) or changed.dim() != 4 or changed.shape[:2] != rgb.shape[:2]:
            found = list(changed.shape) if isinstance(changed, Tensor) else f"a {type(changed).__name__}"
            raise UserError(f"data.augment: {self.name} must return rgb {list(rgb.shape)}, and returned {found}.")
        return changed.float().clamp(0, 1)


class Augmentations:
    """Several augmentations, one after the other, each with random numbers of its own.

    Args:
        steps: modules for rgb alone, and augmentations that take a seed.
        size: side of the pictures, in pixels; it is what the modules are tried with.

    Raises:
        UserError: one of the modules cannot be called with such pictures.
    """

    def __init__(self, steps: Sequence[Augmentation], size: int) -> None:
        self.steps: list[Augmentation | AugmentationModule] = []
        shape = size, size
        for place, step in enumerate(steps):
            if isinstance(step, nn.Module) and not takes_index(step):
                module = AugmentationModule(step, *shape, place)
                shape = module.shape
                self.steps.append(module)
                continue
            if isinstance(step, RandomCropFlip) and step.size is not None:
                shape = step.size, step.size
            self.steps.append(step)

    def __call__(self, rgb: Tensor, index: Tensor, photographs: list[int], seed: int, epoch: int) -> Tensor:
        """Change the pictures of a batch.

        Args:
            rgb: [B, 3, H, W], uint8 or float32 in 0..1.
            index: [B] int64, which photographs these are.
            photographs: the same numbers as a list.
            seed, epoch: what the draws depend on besides.
        """
        for place, step in enumerate(self.steps):
            if isinstance(step, AugmentationModule):
                rgb = step(rgb, photographs, seed, epoch)
            else:
                rgb = step(rgb, index, (seed + place * 0x9E3779B1) % 2**32, epoch)  # seeds are below 2³²
        return rgb


def takes_index(augment: Augmentation | nn.Module) -> bool:
    """Return whether an augmentation is called with (rgb, index, seed, epoch), and not a module for rgb alone."""
    if not isinstance(augment, nn.Module):
        return True
    return {"index", "seed", "epoch"} <= inspect.signature(augment.forward).parameters.keys()


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
