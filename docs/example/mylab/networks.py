"""A network of three convolutions."""

from torch import Tensor, nn

from colorlab.models import Colorizer


class Tiny(Colorizer):
    """Convolutions at full resolution.

    Args:
        width: channels of the hidden layers.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Conv2d(width, 2, 1)
        self.initialize()  # draws the weights

    def network(self, lightness: Tensor) -> Tensor:
        """Predict ab, [B, 2, H, W] in -128..127, from L, [B, 1, H, W] in 0..100."""
        return self.head(self.layers(lightness / 100)).tanh() * 127
