"""Less flicker in films: each frame's color is mixed with that of the frame before, along the motion."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE, REACH = 4, 5
"""Motion is estimated on L downsampled by COARSE, up to REACH of its pixels; then refined at full size."""

STILL = 0.02
"""Cost of motion in L per pixel: in uniform areas, the shortest motion is chosen."""

TRUST = 4.0
"""Standard deviation of L, between a pixel and where it came from, at which the earlier color is trusted less."""


class ColoredFrame(NamedTuple):
    """The network's input for a frame, and the color of the frame."""

    lightness: Tensor  # [1, 1, h, w]
    ab: Tensor  # [1, 2, h, w]


class FlickerFilter:
    """Mixes each frame's ab with that of the frame before, moved along the estimated motion.

    ab = t · moved ab of the frame before + (1 − t) · predicted ab, with t = steady · exp(−ΔL² / 2σ²):
    where nothing in the frame before matches, as after a cut, the prediction is used alone.

    Args:
        steady: the share of the frame before, below 1; 0 leaves the predictions unchanged.
    """

    def __init__(self, steady: float) -> None:
        self.steady = steady
        self.before: ColoredFrame | None = None

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return the filtered ab of the next frame, given its L [1, 1, h, w] and predicted ab [1, 2, h, w]."""
        if self.before is not None and self.steady:
            last = ColoredFrame(*(part.to(lightness.device) for part in self.before))  # a resumed film's are on the CPU
            moved = _moved(torch.cat(last, dim=1), _motion(last.lightness, lightness))
            difference = lightness - moved[:, :1]
            trust = self.steady * (-(difference**2) / (2 * TRUST**2)).exp()
            ab = torch.lerp(ab, moved[:, 1:], trust)
        self.before = ColoredFrame(lightness, ab)
        return ab


def _motion(before: Tensor, now: Tensor) -> Tensor:
    """Estimate where each pixel was in the frame before, by block matching.

    Args:
        before, now: L, [1, 1, h, w].

    Returns:
        [2, h, w] int64: offsets of row and column to the pixel's place in the frame before.
    """
    old, new = F.avg_pool2d(before, COARSE), F.avg_pool2d(now, COARSE)
    height, width = new.shape[-2:]
    steps = torch.arange(-REACH, REACH + 1, device=new.device)
    places = torch.cartesian_prod(steps, steps)  # [places, 2]
    there = F.pad(old, (REACH,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    cost = (there.reshape(1, -1, height, width) - new).abs_()
    cost = F.avg_pool2d(cost, 5, stride=1, padding=2, count_include_pad=False)
    cost += STILL * places.float().norm(dim=1)[:, None, None]
    motion = places[cost[0].argmin(dim=0)].movedim(-1, 0)
    full = COARSE * motion.repeat_interleave(COARSE, dim=1).repeat_interleave(COARSE, dim=2)
    missing = (0, now.shape[-1] - full.shape[-1], 0, now.shape[-2] - full.shape[-2])
    rough = F.pad(full[None].float(), missing, mode="replicate")[0].long()
    steps = torch.arange(-COARSE // 2, COARSE // 2 + 1, device=new.device)
    near = torch.cartesian_prod(steps, steps)
    near = near[near.float().norm(dim=1).argsort(stable=True)]  # among equal matches, the nearest
    cost = torch.cat([(_moved(before, rough + step[:, None, None]) - now).abs() for step in near], dim=1)
    cost = F.avg_pool2d(cost, 9, stride=1, padding=4, count_include_pad=False)
    return rough + near[cost[0].argmin(dim=0)].movedim(-1, 0)


def _moved(before: Tensor, motion: Tensor) -> Tensor:
    """Return the frame before, [1, C, h, w], with each pixel moved to its place in this frame."""
    height, width = before.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    row = (rows.to(motion.device) + motion[0]).clamp(0, height - 1)
    column = (columns.to(motion.device) + motion[1]).clamp(0, width - 1)
    return before[..., row, column]
