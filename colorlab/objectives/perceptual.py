"""A perceptual loss: differences between the features of predicted pictures and photographs."""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorlab.encoders import Lite0
from colorlab.errors import UserError
from colorlab.objectives.objective import ColorBatch, Objective, Prediction
from colorlab.objectives.pictures import check_size, check_target_color, true_picture
from colorlab.objectives.vgg16 import Vgg16

LAYER_WEIGHTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
"""Of the five feature maps, from the largest to the smallest; DDColor's for VGG16, our choice for Lite0."""

SMALLEST = 32
"""The side of a picture whose smallest map, of stride 32, is one pixel."""


class Perceptual(Objective):
    """Differences between the features that a frozen ImageNet classifier sees in predicted and in true pictures.

    Args:
        network: "lite0" is EfficientNet-Lite0, installed with colorlab; its maps of strides 2, 4, …, 32 are compared.
            "vgg16_bn" is VGG16, before BatchNorm and ReLU of conv1_1, conv2_1, …, conv5_1.
        weights: a file of VGG16's weights; null looks for torchvision's in torch's cache.
        loss: "l1" is the mean absolute difference, "mse" the mean squared one.
        target_color: factor of the colors of the true pictures: 1.2 raises them by a fifth, as DDColor does. Metrics
            and losses on ab are not affected.

    Raises:
        UserError: the weights are not available, or target_color is negative.

    Source: Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016.
    """

    def __init__(
        self,
        network: Literal["lite0", "vgg16_bn"] = "lite0",
        weights: str | None = None,
        loss: Literal["l1", "mse"] = "l1",
        target_color: float = 1.0,
    ) -> None:
        super().__init__()
        check_target_color(target_color)
        self.network = _build(network, Path(weights).expanduser() if weights else None)
        self.network.requires_grad_(False).eval()
        self.difference = F.l1_loss if loss == "l1" else F.mse_loss
        self.target_color = target_color

    def forward(self, prediction: Prediction, batch: ColorBatch) -> Tensor:
        """Return the weighted sum over the feature maps of their mean differences, computed in float32.

        Raises:
            UserError: the pictures are too small for the network.
        """
        check_size(batch.L, SMALLEST, "The perceptual objective")
        with torch.no_grad():
            expected = self.network(true_picture(batch, self.target_color))
        found = self.network(prediction.rgb(batch.L))
        differences = [self.difference(one.float(), other.float()) for one, other in zip(found, expected, strict=True)]
        return sum(
            (weight * each for weight, each in zip(LAYER_WEIGHTS, differences, strict=True)),
            start=torch.zeros((), device=batch.L.device),
        )


def _build(network: str, weights: Path | None) -> nn.Module:
    if network == "vgg16_bn":
        return Vgg16(weights)
    if weights is not None:
        raise UserError(
            "The perceptual objective takes weights=FILE with network=vgg16_bn; those of lite0 are installed."
        )
    lite0 = Lite0()
    lite0.load_pretrained()
    return lite0
