"""The 313 color bins of "Colorful Image Colorization" (Zhang, Isola, Efros, ECCV 2016).

    ab:      [B, 2, H, W], CIE a* and b*, -128..127
    logits:  [B, 313, H, W], one for each bin, at a quarter of the picture's height and width
    prior:   [313], the frequency of each bin's colors; sums to 1

The bins are the points of a 10-unit grid over ab that are inside sRGB, as the authors published them. No simple rule
gives exactly these 313, so they are listed.
"""

from functools import lru_cache

import torch
from torch import Tensor

STEP = 10
STRIDE = 4
"""The ratio of the picture's height and width to those of the logits."""

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
"""[313, 2]: (a, b) of each bin, ordered by a, then by b, as in the published weights."""

COUNT = len(CENTERS)


# -- encode ------------------------------------------------------------------------------------------

_CELL = 5  # side of a cell of the ab plane, in ab units; at most 13 bins are candidates for the 5 nearest in a cell
_ORIGIN = -130
_CELLS = 52  # along a and along b: -130..130


def soft_encode(ab: Tensor, k: int = 5, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
    """Encode each color as weights of its k nearest bins, exactly.

    Instead of all 313 bins, only those are compared that can be among the k nearest somewhere in the color's 5-unit
    cell of the ab plane.

    Args:
        ab: [B, 2, H, W].
        k: the number of bins; 5 in the paper, 10 in its released code.
        sigma: standard deviation σ of the Gaussian weights exp(−d² / 2σ²), in ab units.

    Returns:
        index: [B, k, H, W] int64, the nearest bin first, and weight: [B, k, H, W] float32, which sums to 1 over k.

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
    """Return the bins that can be among the k nearest in each cell, and the a and b of their centers.

    A bin is left out if k others are nearer at all four corners of the cell. The points nearer to one bin than to
    another form a half-plane, so these k are nearer everywhere in the cell.

    Returns:
        The candidates, their a and their b, [cells, candidates] each.
    """
    edges = _ORIGIN + _CELL * torch.arange(_CELLS + 1, dtype=torch.float64)
    corners = [torch.cartesian_prod(a, b) for a in (edges[:-1], edges[1:]) for b in (edges[:-1], edges[1:])]
    distance = torch.stack([torch.cdist(corner, CENTERS.double()) for corner in corners])  # [4, cells, 313]
    # Bins can be tied at corners, so more than k are compared at all four.
    pool = distance.amin(dim=0).topk(min(COUNT, 40 + 4 * k), largest=False).indices
    distance = distance.gather(2, pool.expand(4, -1, -1))
    nearer = (distance[..., :, None] < distance[..., None, :]).all(dim=0).sum(dim=1)  # [cells, pool]
    wanted = nearer < k
    most = int(wanted.sum(dim=1).max())
    order = nearer.argsort(dim=1, stable=True)[:, :most]
    candidates = pool.gather(1, order)
    center_a, center_b = CENTERS[candidates].to(device).unbind(dim=-1)
    return candidates.to(device), center_a, center_b


# -- decode ------------------------------------------------------------------------------------------


def annealed_mean(logits: Tensor, temperature: float = 0.38) -> Tensor:
    """Decode distributions over the bins as the mean color at a temperature.

    Args:
        logits: [B, 313, H, W].
        temperature: 1 gives the mean of the distribution, values near 0 its mode; 0.38 in the paper.

    Returns:
        ab: [B, 2, H, W] float32.

    Source: the paper's section 2.3, equation 5.
    """
    share = (logits.float() / temperature).softmax(dim=1)
    with torch.autocast(logits.device.type, enabled=False):
        return torch.einsum("bqhw,qc->bchw", share, CENTERS.to(logits.device))


def mode(logits: Tensor) -> Tensor:
    """Return the center of the most probable bin: logits [B, 313, H, W] → ab [B, 2, H, W] float32."""
    return CENTERS.to(logits.device)[logits.argmax(dim=1)].movedim(-1, 1)


# -- weigh -------------------------------------------------------------------------------------------


def prior_of_histogram(histogram: Tensor, sigma: float = 5.0) -> Tensor:
    """Compute the prior of the bins from a histogram of colors.

    The histogram is smoothed with a Gaussian, and each of its cells is added to the nearest bin. The paper does not
    say on which grid it smooths; the 1-unit grid is our choice.

    Args:
        histogram: [256, 256], the number of pixels whose rounded a is row − 128 and b is column − 128.
        sigma: standard deviation of the Gaussian, in ab units.

    Returns:
        prior: [313] float64; sums to 1.
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
    """Compute the weight of each bin's pixels in the loss, larger for rare colors.

    w = ((1 − λ)·p + λ/Q)⁻¹, Q the number of bins that occur, scaled so that Σ p·w = 1. Bins that never occur weigh
    as much as the rarest one that does.

    Args:
        prior: p, [313], sums to 1.
        uniform: λ; 1 weighs all bins alike, 0 by the inverse of p; 0.5 in the paper.

    Returns:
        weight: [313] float64, finite.

    Source: the paper's section 2.2, equation 4.
    """
    occurs = prior > 0
    mixed = (1 - uniform) * prior.double() + uniform / occurs.sum()
    mixed = mixed.clamp(min=mixed[occurs].min())
    weight = 1 / mixed
    return weight / (prior * weight).sum()
