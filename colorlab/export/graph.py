"""A colorizer as one graph without branches, which programs that know nothing of it can run."""

import torch
from torch import Tensor, nn
from torch.export import Dim

from colorlab.color import lab_to_rgb, rgb_to_lab
from colorlab.models import Colorizer
from colorlab.models.weights import metadata

SMALLEST = 16
"""Pixels of the smallest height and width."""


class Graph(nn.Module):
    """What `Colorizer.forward` does, in operations that hold for every size.

    `forward` asks whether a picture needs padding, and a traced program would keep the answer it saw.
    Here rows and columns are gathered: the last one again and again up to a multiple of what the
    network can take, which is the same replication, and of the result those of the picture.

    Args:
        model: the network.
        rgb: take and give RGB, with the conversion to Lab and back inside. The L is the picture's own; colors that
            sRGB cannot show are clipped.
    """

    def __init__(self, model: Colorizer, rgb: bool) -> None:
        super().__init__()
        self.model, self.rgb = model, rgb

    def forward(self, picture: Tensor) -> Tensor:
        """L [B, 1, H, W] → ab [B, 2, H, W], or rgb [B, 3, H, W] in 0..1 → the same, colored."""
        lightness = rgb_to_lab(picture)[0] if self.rgb else picture
        height, width = lightness.shape[-2:]
        padded = _take(lightness, self._padded(height), self._padded(width))
        ab = self.model.decode(self.model.network(padded), padded.shape[-2:])
        ab = _take(ab, torch.arange(height, device=ab.device), torch.arange(width, device=ab.device))
        return lab_to_rgb(lightness, ab) if self.rgb else ab

    def _padded(self, size: int) -> Tensor:
        step = self.model.multiple_of
        device = next(self.model.parameters()).device
        return torch.arange(step * ((size + step - 1) // step), device=device).clamp(max=size - 1)

    @property
    def names(self) -> tuple[str, str]:
        """What the input and the output are called."""
        return ("rgb", "colored") if self.rgb else ("L", "ab")

    def shapes(self) -> tuple[dict[int, Dim]]:
        """The dimensions of the input that may be any."""
        return ({0: Dim("batch"), 2: Dim("height", min=SMALLEST), 3: Dim("width", min=SMALLEST)},)

    def example(self) -> Tensor:
        """An input to trace with: two pictures, H ≠ W, or the tracer would take sizes for constants."""
        return torch.rand(2, 3, 42, 53) if self.rgb else 100 * torch.rand(2, 1, 42, 53)

    def facts(self) -> dict[str, str]:
        """What a file should say of itself."""
        shape = f"float32, height and width from {SMALLEST} up (padded inside)"
        rgb = f"[batch, 3, height, width] sRGB in 0..1, {shape}"
        return {
            **metadata(self.model),
            "input": rgb if self.rgb else f"[batch, 1, height, width] CIE L* in 0..100, {shape}",
            "output": rgb if self.rgb else f"[batch, 2, height, width] CIE a* and b* in -128..127, {shape}",
        }


def _take(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return picture.index_select(2, rows).index_select(3, columns)
