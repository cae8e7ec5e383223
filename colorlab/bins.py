"""The 313 color bins of "Colorful Image Colorization" (Zhang, Isola, Efros, ECCV 2016).

    ab:      [B, 2, H, W], CIE a* and b*, -128..127
    logits:  [B, 313, H, W], one for each bin, at a quarter of the picture's height and width
    prior:   [313], how often a color of each bin occurs; sums to 1

The bins are the points of a 10-unit grid over ab that sRGB can show, as the authors published them.
No simple rule gives exactly these 313, so the table is kept.
"""

from functools import lru_cache

import torch
from torch import Tensor

STEP = 10
STRIDE = 4
"""Logits are this many times smaller than the picture, in height and in width."""

# fmt: off
_RANGES = {  # a: (lowest b, highest b)
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100),
    -40: (-40, 100), -30: (-50, 100), -20: (-50, 100), -10: (-60, 100), 0: (-70, 100),
    10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90), 50: (-100, 80),
    60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}
# fmt: on

CENTERS = torch.tensor(
    [(a, b) for a, (low, high) in _RANGES.items() for b in range(low, high + STEP, STEP)], dtype=torch.float32
)
"""[313, 2]: (a, b) of each bin, ordered by a, then by b, as the published weights order them."""

COUNT = len(CENTERS)


# -- encode ------------------------------------------------------------------------------------------

_CELL = 5  # side of a cell of ab, in units; 13 bins at most are among the 5 nearest somewhere in one
_ORIGIN = -130
_CELLS = 52  # cells along a and along b: -130..130


def soft_encode(ab: Tensor, k: int = 5, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
    """Spread each color over its k nearest bins, exactly.

    In place of a search among 313 bins, each color looks up the few that can be among the k nearest
    anywhere in its 5-unit cell of the ab plane.

    Args:
        ab: [B, 2, H, W].
        k: how many bins; 5 in the paper, 10 in its released code.
        sigma: of the Gaussian weights exp(−d² / 2σ²), in ab units.

    Returns:
        index: [B, k, H, W] int64, the nearest bin first, and weight: [B, k, H, W] float32, which
        sums to 1 over the k.

    Source: the paper's section 2.1.
    """
    a, b = ab.float().unbind(dim=1)
    cell = _cell(a) * _CELLS + _cell(b)
    candidates, center_a, center_b = _candidates(k, ab.device)
    squared = (center_a[cell] - a[..., None]) ** 2 + (center_b[cell] - b[..., None]) ** 2
    squared, place = squared.topk(k, dim=-1, largest=False)
    index = candidates[cell].gather(-1, place)
    weight = ((squared[..., :1] - squared) / (2 * sigma**2)).exp()
    weight = weight / weight.sum(dim=-1, keepdim=True)
    return index.movedim(-1, 1), weight.movedim(-1, 1)


def _cell(color: Tensor) -> Tensor:
    return ((color - _ORIGIN) / _CELL).long().clamp(0, _CELLS - 1)


@lru_cache(maxsize=8)
def _candidates(k: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The bins that are among the k nearest somewhere in a cell, and the a and b of their centers.

    Each is [cells, candidates].

    A bin is left out when k others are nearer at all four corners, and so, since "nearer" is a half
    plane, everywhere in the cell.
    """
    edges = _ORIGIN + _CELL * torch.arange(_CELLS + 1, dtype=torch.float64)
    corners = [torch.cartesian_prod(a, b) for a in (edges[:-1], edges[1:]) for b in (edges[:-1], edges[1:])]
    distance = torch.stack([torch.cdist(corner, CENTERS.double()) for corner in corners])  # [4, cells, 313]
    # More than k bins can be tied with others at corners; a few more than enough are compared in full.
    pool = distance.amin(dim=0).topk(min(COUNT, 40 + 4 * k), largest=False).indices
    distance = distance.gather(2, pool.expand(4, -1, -1))
    nearer = (distance[..., :, None] < distance[..., None, :]).all(dim=0).sum(dim=1)  # [cells, pool]
    wanted = nearer < k
    most = int(wanted.sum(dim=1).max())
    order = nearer.argsort(dim=1, stable=True)[:, :most]
    candidates = pool.gather(1, order)
    return candidates.to(device), *CENTERS[candidates].to(device).unbind(dim=-1)


# -- decode ------------------------------------------------------------------------------------------


def annealed_mean(logits: Tensor, temperature: float = 0.38) -> Tensor:
    """The color that a distribution over the bins stands for.

    Args:
        logits: [B, 313, H, W].
        temperature: 1 gives the distribution's mean, toward 0 its mode; 0.38 in the paper.

    Returns:
        ab: [B, 2, H, W] float32.

    Source: the paper's section 2.3, equation 5.
    """
    share = (logits.float() / temperature).softmax(dim=1)
    with torch.autocast(logits.device.type, enabled=False):
        return torch.einsum("bqhw,qc->bchw", share, CENTERS.to(logits.device))


def mode(logits: Tensor) -> Tensor:
    """The center of the likeliest bin: logits [B, 313, H, W] → ab [B, 2, H, W] float32."""
    return CENTERS.to(logits.device)[logits.argmax(dim=1)].movedim(-1, 1)


# -- weigh -------------------------------------------------------------------------------------------


def prior_of_histogram(histogram: Tensor, sigma: float = 5.0) -> Tensor:
    """The prior of the bins, from a count of colors.

    The histogram is smoothed with a Gaussian, and each of its cells goes to the bin nearest to it
    (the paper says to smooth, not on which grid: the 1-unit grid is our choice).

    Args:
        histogram: [256, 256], how many pixels had a = row − 128 and b = column − 128, rounded.
        sigma: of the Gaussian, in ab units.

    Returns:
        prior: [313] float64, which sums to 1.
    """
    reach = round(4 * sigma)
    kernel = (-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * sigma**2)).exp()
    smooth = histogram.double()[None, None]
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        along = kernel.reshape(shape)
        smooth = torch.nn.functional.conv2d(smooth, along, padding=tuple(size // 2 for size in along.shape[2:]))
    grid = torch.arange(-128, 128, dtype=torch.float32)
    nearest, _ = soft_encode(torch.stack(torch.meshgrid(grid, grid, indexing="ij"))[None], k=1)
    prior = torch.zeros(COUNT, dtype=torch.float64).index_add_(0, nearest.flatten(), smooth.flatten())
    return prior / prior.sum()


def rebalancing(prior: Tensor, uniform: float = 0.5) -> Tensor:
    """How much a pixel counts, by its bin: rare colors more, so that the network dares to use them.

    w = ((1 − λ)·p + λ/Q)⁻¹, Q the number of bins that occur, scaled so that Σ p·w = 1. Without any
    of the uniform distribution, bins that never occur weigh as much as the rarest that does.

    Args:
        prior: p, [313], sums to 1.
        uniform: λ; 1 weighs all alike, 0 by the inverse of p, 0.5 in the paper.

    Returns:
        weight: [313] float64, finite.

    Source: the paper's section 2.2, equation 4.
    """
    occurs = prior > 0
    mixed = (1 - uniform) * prior.double() + uniform / occurs.sum()
    mixed = mixed.clamp(min=mixed[occurs].min())
    weight = 1 / mixed
    return weight / (prior * weight).sum()
