"""UNet: a small decoder that colors from the feature maps of an ImageNet classifier."""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from colorlab import bins
from colorlab.color import AB_MAX, gray_rgb
from colorlab.encoders import build_encoder
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer

FINEST = {"ab": 2, "bins": bins.STRIDE}
"""Height and width of the picture divided by those of each head's output."""


class UNet(Colorizer):
    """A pretrained encoder, frozen unless `model.encoder_lr` says otherwise, under a decoder with skips.

    The encoder sees the gray picture as RGB. Each step of the decoder enlarges its features bilinearly, joins the
    encoder's map of that size, and convolves once. ab is predicted at half the height and width and enlarged
    bilinearly: colors are smoother than lightness, and a step at full size made training take half as long again and
    the colors no better (docs/results.md). The encoder's weights are loaded when a training starts.

    Args:
        encoder: "lite0", EfficientNet-Lite0, or a network of timm, such as "convnext_tiny.fb_in22k".
        width: channels of the decoder.
        dropout: share of the channels of each of the encoder's maps that are left out in training.
        head: "ab" regresses ab through a tanh; "bins" classifies into the 313 color bins.
        temperature: temperature at which bins are decoded.

    Source of the form: Ronneberger et al., "U-Net", MICCAI 2015; the decoder is our choice.
    """

    encoder_lr = 0.0

    def __init__(
        self,
        encoder: str = "lite0",
        width: PositiveInt = 32,
        dropout: float = 0.0,
        head: Literal["ab", "bins"] = "ab",
        temperature: float = 0.38,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout={dropout:g} must be at least 0 and below 1.")
        self.choose_head(head, temperature)
        self.encoder = build_encoder(encoder)
        maps = dict(zip(self.encoder.strides, self.encoder.channels, strict=True))
        self.multiple_of = stride = max(maps)
        self.dropout = nn.Dropout2d(dropout)
        self.decoder = nn.ModuleList()
        inputs = maps[stride]
        while stride > FINEST[head]:
            stride //= 2
            self.decoder.append(_step(inputs + maps.get(stride, 0), width))
            inputs = width
        self.head = nn.Conv2d(width, bins.COUNT if self.predicts_bins else 2, 1)
        self.initialize()

    def draw_weights(self) -> None:
        """Draw He-normal weights, and small ones for the head: training starts near gray, or near uniform bins."""
        super().draw_weights()
        nn.init.normal_(self.head.weight, std=0.01)

    def load_pretrained_parts(self, weights: Path | None = None) -> None:
        self.encoder.load_pretrained(weights)

    def network(self, lightness: Tensor) -> Tensor:
        encoded = self.encoder(gray_rgb(lightness).to(lightness.dtype))
        maps = dict(zip(self.encoder.strides, (self.dropout(each) for each in encoded), strict=True))
        stride = self.multiple_of
        features = maps[stride]
        for step in self.decoder:
            stride //= 2
            features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = step(torch.cat([features, maps[stride]], dim=1) if stride in maps else features)
        output: Tensor = self.head(features)
        if self.predicts_bins:
            return output
        output = F.interpolate(output, scale_factor=stride, mode="bilinear", align_corners=False)
        return output.tanh() * AB_MAX


def _step(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
