"""CUNet: the network of "Image Colorization Algorithm Based on Deep Learning" (Wang et al. 2022)."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from colorlab import bins
from colorlab.color import AB_MAX
from colorlab.models.colorizer import Colorizer

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}
POOLS: dict[str, Callable[..., Tensor]] = {"avg": F.avg_pool2d, "max": F.max_pool2d}


class CUNet(Colorizer):
    """A U-Net with four dilated convolutions between encoder and decoder, which regresses ab through a tanh.

    The stages, the widths, the sigmoids and the head are the paper's. It leaves open the pooling, the dilation,
    the order of activation and norm, and the scale of the input. The defaults follow a student report:
    average pooling, dilation 2 and BatchNorm after the sigmoid; the input, (L − 50) / 50, is our choice.

    Args:
        width: channels of the first stage; the others have 2, 4 and 8 times as many. 64 in the paper.
        activation: follows each convolution. "sigmoid" in the paper; "relu" trains faster.
        pool: pooling that halves height and width after each stage of the encoder.
        norm: BatchNorm "after" or "before" the activation.
        dilation: dilation of the four dilated convolutions.
        head: "ab" regresses ab through a tanh; "bins" classifies into the 313 color bins, from features
            averaged over blocks of 4×4 pixels (our choice: the paper has no bins).
        temperature: temperature at which bins are decoded.

    Source: Symmetry 2022, 14(11), 2295, section 3 and its network figure.
    """

    multiple_of = 8

    def __init__(
        self,
        width: PositiveInt = 64,
        activation: Literal["sigmoid", "relu"] = "sigmoid",
        pool: Literal["avg", "max"] = "avg",
        norm: Literal["after", "before"] = "after",
        dilation: int = 2,
        head: Literal["ab", "bins"] = "ab",
        temperature: float = 0.38,
    ) -> None:
        super().__init__()
        self.choose_head(head, temperature)
        self.pool = POOLS[pool]

        def unit(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
            batch_norm = nn.BatchNorm2d(convolution.out_channels)
            non_linear = ACTIVATIONS[activation]()
            tail = (non_linear, batch_norm) if norm == "after" else (batch_norm, non_linear)
            return nn.Sequential(convolution, *tail)

        def conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
            return unit(nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation))

        w1, w2, w4, w8 = width, 2 * width, 4 * width, 8 * width
        self.encoder = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs), conv(outputs, outputs))
            for inputs, outputs in ((1, w1), (w1, w2), (w2, w4))
        )
        self.bottom = nn.Sequential(
            conv(w4, w8), conv(w8, w8),
            *(conv(w8, w8, dilation) for _ in range(4)),
            conv(w8, w8), conv(w8, w8),
        )  # fmt: skip
        stages = ((w8, w4), (w4, w2), (w2, w1))
        self.up = nn.ModuleList(
            unit(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)) for inputs, outputs in stages
        )
        self.decoder = nn.ModuleList(conv(2 * outputs, outputs) for _, outputs in stages)
        self.head = nn.Conv2d(w1, bins.COUNT if self.predicts_bins else 2, 1)
        self.initialize()

    def draw_weights(self) -> None:
        """Draw He-normal weights, and small ones for the head: training starts near gray, or near uniform bins."""
        super().draw_weights()
        nn.init.normal_(self.head.weight, std=0.01)

    def network(self, lightness: Tensor) -> Tensor:
        features = (lightness - 50) / 50
        skips = []
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
            features = self.pool(features, 2)
        features = self.bottom(features)
        for up, join in zip(self.up, self.decoder, strict=True):
            features = join(torch.cat([skips.pop(), up(features)], dim=1))
        if self.predicts_bins:
            return self.head(F.avg_pool2d(features, bins.STRIDE))
        return self.head(features).tanh() * AB_MAX
