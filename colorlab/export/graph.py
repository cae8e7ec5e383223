"""A colorizer as one graph without branches, for programs that know nothing of colorlab."""

import torch
from torch import Tensor, nn
from torch.export import Dim

from colorlab.color import lab_to_rgb, rgb_to_lab
from colorlab.models import Colorizer
from colorlab.models.inference import MIN_SIDE
from colorlab.models.weights import metadata


class Graph(nn.Module):
    """Compute what `Colorizer.forward` does, with operations that are valid for every size.

    `forward` branches on whether a picture needs padding, and tracing would fix the branch it saw. The graph
    instead gathers rows and columns by index: it repeats the last one up to a multiple of what the network
    takes, which is the same replication padding, and gathers the picture's own from the result.

    Args:
        model: the network.
        rgb: take and return RGB, with the conversion to Lab and back inside. L is the picture's own; colors outside
            sRGB are clipped.
    """

    def __init__(self, model: Colorizer, rgb: bool) -> None:
        super().__init__()
        self.model, self.rgb = model, rgb
        # A map of one pixel would make the traced size a constant.
        self.min_side = max(MIN_SIDE, model.multiple_of + 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Map L [B, 1, H, W] to ab [B, 2, H, W], or gray rgb [B, 3, H, W] in 0..1 to colored rgb."""
        lightness = rgb_to_lab(picture)[0] if self.rgb else picture
        height, width = lightness.shape[-2:]
        padded = _take(lightness, self._padded(height), self._padded(width))
        ab = self.model.decode(self.model.call_network(padded), padded.shape[-2:])
        ab = _take(ab, torch.arange(height, device=ab.device), torch.arange(width, device=ab.device))
        return lab_to_rgb(lightness, ab) if self.rgb else ab

    def _padded(self, size: int) -> Tensor:
        step = self.model.multiple_of
        device = next(self.model.parameters()).device
        return torch.arange(step * ((size + step - 1) // step), device=device).clamp(max=size - 1)

    @property
    def names(self) -> tuple[str, str]:
        """The names of the input and the output."""
        return ("rgb", "colored") if self.rgb else ("L", "ab")

    def shapes(self) -> tuple[dict[int, Dim]]:
        """Return the dynamic dimensions of the input."""
        height, width = (Dim(name, min=self.min_side) for name in ("height", "width"))
        return ({0: Dim("batch"), 2: height, 3: width},)

    def example(self) -> Tensor:
        """Return an input to trace with: two pictures with H ≠ W, so that tracing makes no size a constant."""
        return torch.rand(2, 3, 42, 53) if self.rgb else 100 * torch.rand(2, 1, 42, 53)

    def facts(self) -> dict[str, str]:
        """Return the metadata of a file: the model, the licenses, the input and the output."""
        shape = f"float32, height and width from {self.min_side} up (padded inside)"
        rgb = f"[batch, 3, height, width] sRGB in 0..1, {shape}"
        return {
            **metadata(self.model),
            "input": rgb if self.rgb else f"[batch, 1, height, width] CIE L* in 0..100, {shape}",
            "output": rgb if self.rgb else f"[batch, 2, height, width] CIE a* and b* in -128..127, {shape}",
        }


def _take(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return picture.index_select(2, rows).index_select(3, columns)
