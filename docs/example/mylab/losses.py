"""A loss on chroma and hue."""

from torch import Tensor, nn


class Charbonnier(nn.Module):
    """The Charbonnier loss of ab: quadratic for small errors, linear for large ones.

    Args:
        epsilon: the error, in CIE units, around which it changes from one to the other.
    """

    def __init__(self, epsilon: float = 1.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Return the mean over [B, 2, H, W]."""
        return ((predicted - true).square() + self.epsilon**2).sqrt().mean()
