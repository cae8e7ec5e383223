"""Soft cross-entropy over the 313 color bins."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from colorlab.bins import COUNT, STRIDE, soft_encode
from colorlab.color import has_color
from colorlab.errors import UserError
from colorlab.objectives.objective import ColorBatch, Objective, Prediction


class Classification(Objective):
    """Soft cross-entropy over the 313 color bins.

    Args:
        k: the number of nearest bins that a true color is encoded over.
        sigma: standard deviation of the encoding's Gaussian, in ab units.
        target: how the true ab is reduced to the logits' size: "pick" takes every fourth pixel, as the released
            code does; "average" takes the mean of each 4×4 block.

    Raises:
        UserError: k or sigma is out of its range.

    Source: Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2.1, equation 2.
    """

    takes_logits = True

    def __init__(self, k: int = 5, sigma: float = 5.0, target: Literal["pick", "average"] = "pick") -> None:
        super().__init__()
        if not 1 <= k <= COUNT or sigma <= 0:
            raise UserError(f"objective.k={k} must lie between 1 and {COUNT}, objective.sigma={sigma:g} above 0.")
        self.k, self.sigma, self.target = k, sigma, target

    def forward(self, prediction: Prediction, batch: ColorBatch) -> Tensor:
        """Return the mean over the pixels of pictures with color; 0 if there are none.

        Logits may be of any floating-point type; the loss is computed in float32.
        """
        assert prediction.logits is not None  # `takes_logits`
        logits, ab = prediction.logits, batch.ab
        colorful = has_color(ab)
        ab = ab[..., ::STRIDE, ::STRIDE] if self.target == "pick" else F.avg_pool2d(ab, STRIDE, ceil_mode=True)
        height, width = ab.shape[-2:]
        index, share = soft_encode(ab, self.k, self.sigma)
        factor = self.importance(index[:, 0]) * colorful[:, None, None]
        pixels = (colorful.sum() * height * width).clamp(min=1)
        return SoftCrossEntropy.apply(logits[..., :height, :width], index, share, factor) / pixels

    def importance(self, nearest: Tensor) -> Tensor:
        """Return the weight of each pixel by its nearest bin: [B, h, w] int64 → [B, h, w] float32."""
        return torch.ones_like(nearest, dtype=torch.float32)


class SoftCrossEntropy(torch.autograd.Function):
    """Cross-entropy with sparse soft targets: Σ over pixels of factor · (logsumexp(z) − Σ over k of share · z[index]).

    Equal to the cross-entropy with a dense target [B, 313, H, W], which is never built, neither in the forward pass
    nor in the gradient factor · (softmax(z) − target), from which the k terms are subtracted in place.

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
