"""Encoder: what a decoder needs to know of a classifier, and how one is chosen by its name."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A classifier without its head: RGB in, feature maps of falling size out.

    Attributes:
        channels: of each feature map.
        strides: height and width of the picture divided by those of each map; rising powers of 2.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Compute the feature maps, [B, C, H / stride, W / stride], of pictures.

        Args:
            rgb: [B, 3, H, W] in 0..1; H and W are multiples of the last stride.
        """

    @abstractmethod
    def load_pretrained(self, weights: Path | None = None) -> None:
        """Load weights trained on ImageNet.

        Args:
            weights: a file; None takes what is installed or cached. Nothing is downloaded.

        Raises:
            UserError: the weights are not available, or are those of another network.
        """


def build_encoder(name: str) -> Encoder:
    """Build an encoder with random weights.

    Args:
        name: "lite0", or the name of any network of timm that has feature maps, such as "convnext_tiny.fb_in22k".

    Raises:
        UserError: there is no such network, or timm is not installed.
    """
    from colorlab.encoders.lite0 import Lite0
    from colorlab.encoders.timm import TimmEncoder  # these modules import this one

    return Lite0() if name == "lite0" else TimmEncoder(name)
