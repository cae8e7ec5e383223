"""eccv16: the network of "Colorful Image Colorization" (Zhang, Isola, Efros, ECCV 2016)."""

from typing import Literal

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from colorlab import bins
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer

AB_SCALE = 110
"""Unit of ab in the published network."""


def block(*convolutions: nn.Conv2d) -> nn.Sequential:
    """Return convolutions with a ReLU after each and one BatchNorm at the end."""
    layers: list[nn.Module] = []
    for convolution in convolutions:
        layers += [convolution, nn.ReLU()]
    return nn.Sequential(*layers, nn.BatchNorm2d(convolutions[-1].out_channels))


def conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Return a 3×3 convolution with zero padding."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation)


def _set_to_bin_centers(model_out: nn.Module, *_: object) -> None:
    """Set the weights of the layer from bins to ab to the centers of the bins."""
    model_out.get_parameter("weight").copy_(bins.CENTERS.T[..., None, None] / AB_SCALE)


class ECCV16(Colorizer):
    """Eight convolutional blocks, at down to 1/8 of the picture's height and width, and 313 color bins.

    The bins are decoded to ab at a quarter of the height and width, and enlarged bilinearly. Layers and parameter
    names are those of the published `colorization_release_v2`, whose file loads unchanged. With head="ab" its
    layer `model_out`, from bins to ab, follows a plain softmax of the logits, as in the published network.

    Args:
        width: channels of the first block; the others have 2, 4 and 8 times as many. 64 in the paper.
        head: "ab" trains `model_out` with the other layers, by regression. "bins" is for classification:
            the output is the logits, decoded by their annealed mean, and `model_out` is fixed to the
            centers of the bins ÷ 110, so that files stay usable in the published network.
        temperature: temperature at which bins are decoded, with head="bins".

    Source: the paper's section 2 and the layer table of its released model.
    """

    multiple_of = 8

    def __init__(self, width: PositiveInt = 64, head: Literal["ab", "bins"] = "ab", temperature: float = 0.38) -> None:
        super().__init__()
        self.choose_head(head, temperature)
        w1, w2, w4, w8 = width, 2 * width, 4 * width, 8 * width
        self.model1 = block(conv(1, w1), conv(w1, w1, stride=2))
        self.model2 = block(conv(w1, w2), conv(w2, w2, stride=2))
        self.model3 = block(conv(w2, w4), conv(w4, w4), conv(w4, w4, stride=2))
        self.model4 = block(conv(w4, w8), conv(w8, w8), conv(w8, w8))
        self.model5 = block(*(conv(w8, w8, dilation=2) for _ in range(3)))
        self.model6 = block(*(conv(w8, w8, dilation=2) for _ in range(3)))
        self.model7 = block(*(conv(w8, w8) for _ in range(3)))
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(w8, w4, 4, stride=2, padding=1), nn.ReLU(),
            conv(w4, w4), nn.ReLU(),
            conv(w4, w4), nn.ReLU(),
            nn.Conv2d(w4, bins.COUNT, 1),
        )  # fmt: skip
        self.model_out = nn.Conv2d(bins.COUNT, 2, 1, bias=False)
        self.initialize()
        if self.predicts_bins:
            self.model_out.requires_grad_(False)
            _set_to_bin_centers(self.model_out)
            self.model_out.register_load_state_dict_post_hook(_set_to_bin_centers)

    def network(self, lightness: Tensor) -> Tensor:
        features = (lightness - 50) / 100
        for block in (self.model1, self.model2, self.model3, self.model4, self.model5, self.model6, self.model7):
            features = block(features)
        logits = self.model8(features)
        if self.predicts_bins:
            return logits
        ab = self.model_out(logits.softmax(dim=1)) * AB_SCALE
        return F.interpolate(ab, scale_factor=bins.STRIDE, mode="bilinear", align_corners=False)

    def published_weights(self, fold_temperature: bool = False) -> dict[str, Tensor]:
        if self.hparams["width"] != 64:
            raise UserError(f"The published eccv16 has width 64, this one {self.hparams['width']}.")
        weights = dict(self.state_dict())
        if fold_temperature and self.predicts_bins:
            for name in ("model8.6.weight", "model8.6.bias"):
                weights[name] = weights[name] / self.temperature
        return weights
