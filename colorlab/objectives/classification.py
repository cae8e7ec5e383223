"""What a prediction costs, where torch has no loss for it.

A loss on ab is any torch loss, called with (predicted ab, true ab). An objective with
`takes_logits` is called with (logits of the bins, true ab).
"""

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from colorlab.bins import STRIDE, rebalancing, soft_encode
from colorlab.color import has_color
from colorlab.data.color_histogram import read_prior
from colorlab.errors import UserError


class Classification(nn.Module):
    """Soft cross-entropy over the 313 color bins.

    Args:
        k: over how many of its nearest bins a true color is spread.
        sigma: of the Gaussian that spreads it, in ab units.
        target: how the true ab comes to the logits' size: "pick" takes every fourth pixel, as the
            released code does; "average" the mean of each 4×4 block.

    Source: Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2.1, equation 2.
    """

    takes_logits = True

    def __init__(self, k: int = 5, sigma: float = 5.0, target: Literal["pick", "average"] = "pick") -> None:
        super().__init__()
        if not 1 <= k <= 313 or sigma <= 0:
            raise UserError(f"objective.k={k} must lie between 1 and 313, objective.sigma={sigma:g} above 0.")
        self.k, self.sigma, self.target = k, sigma, target

    def forward(self, logits: Tensor, ab: Tensor) -> Tensor:
        """The mean over the pixels of pictures with color; 0 if there are none.

        Args:
            logits: [B, 313, h, w] of any floating type; computed in float32.
            ab: the true color, [B, 2, H, W], where h and w are at least a quarter of H and W.
        """
        colorful = has_color(ab)
        ab = ab[..., ::STRIDE, ::STRIDE] if self.target == "pick" else F.avg_pool2d(ab, STRIDE, ceil_mode=True)
        height, width = ab.shape[-2:]
        index, share = soft_encode(ab, self.k, self.sigma)
        factor = self.importance(index[:, 0]) * colorful[:, None, None]
        pixels = (colorful.sum() * height * width).clamp(min=1)
        return SoftCrossEntropy.apply(logits[..., :height, :width], index, share, factor) / pixels

    def importance(self, nearest: Tensor) -> Tensor:
        """How much a pixel counts, by its nearest bin: [B, h, w] int64 → [B, h, w] float32."""
        return torch.ones_like(nearest, dtype=torch.float32)


class RebalancedClassification(Classification):
    """Soft cross-entropy in which rare colors count more.

    Args:
        prior: file of the colors' frequencies, from `python -m colorlab.prior`; the training command
            counts those of its own photographs when none is given.
        uniform: λ, the share of the uniform distribution in the frequencies: 0.5 in the paper,
            1 weighs all colors alike, 0 by the inverse of their frequency.
        k, sigma, target: as for Classification.

    Raises:
        UserError: there is no prior, or a value is out of its range.

    Source: the paper's section 2.2.
    """

    def __init__(
        self,
        prior: str | None = None,
        uniform: float = 0.5,
        k: int = 5,
        sigma: float = 5.0,
        target: Literal["pick", "average"] = "pick",
    ) -> None:
        super().__init__(k, sigma, target)
        if prior is None:
            raise UserError("objective.prior is missing: python -m colorlab.prior makes one.")
        if not 0 <= uniform <= 1:
            raise UserError(f"objective.uniform={uniform:g} must lie between 0 and 1.")
        weight = rebalancing(read_prior(Path(prior)), uniform)
        self.register_buffer("weight", weight.float(), persistent=False)

    def importance(self, nearest: Tensor) -> Tensor:
        return self.weight[nearest]


class SoftCrossEntropy(torch.autograd.Function):
    """Σ over pixels of factor · (logsumexp(z) − Σ over k of share · z[index]).

    Equal to the cross-entropy with a dense target [B, 313, H, W], which is never built: neither
    forward nor in the gradient, factor · (softmax(z) − target), whose k terms are subtracted in place.

        logits: z, [B, 313, H, W]      index: [B, k, H, W] int64      share: [B, k, H, W], sums to 1
        factor: [B, H, W]
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, share: Tensor, factor: Tensor) -> Tensor:
        total = logits.float().logsumexp(dim=1)
        ctx.save_for_backward(logits, index, share, factor, total)
        chosen = (share * logits.gather(1, index).float()).sum(dim=1)
        return (factor * (total - chosen)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        logits, index, share, factor, total = ctx.saved_tensors
        factor = (outer * factor)[:, None]
        gradient = torch.sub(logits, total[:, None]).exp_().mul_(factor)
        gradient.scatter_add_(1, index, -share * factor)
        return gradient.to(logits.dtype), None, None, None
