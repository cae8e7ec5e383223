"""siggraph17: "Real-Time User-Guided Image Colorization with Learned Deep Priors" (Zhang et al., SIGGRAPH 2017)."""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer
from colorlab.models.eccv16 import AB_SCALE, block, conv

CLASSES = 529
"""Color classes of the published network's second head, which does not take part in the prediction."""


class Siggraph17(Colorizer):
    """A U-Net of eccv16's blocks, which regresses ab through a tanh from L and, where they are given, hints.

    Layers and parameter names are those of the published `siggraph17`, whose file loads unchanged. Its second head,
    `model_class`, has no part in the prediction; it is kept for the file and not trained.

    Args:
        width: channels of the first block; the others have 2, 4 and 8 times as many. 64 in the paper.

    Source: ACM Transactions on Graphics 36(4), 2017, section 3.2, and the layer table of its released PyTorch model.
    """

    multiple_of = 8

    def __init__(self, width: PositiveInt = 64) -> None:
        super().__init__()
        w1, w2, w4, w8 = width, 2 * width, 4 * width, 8 * width
        self.model1 = block(conv(4, w1), conv(w1, w1))
        self.model2 = block(conv(w1, w2), conv(w2, w2))
        self.model3 = block(conv(w2, w4), conv(w4, w4), conv(w4, w4))
        self.model4 = block(conv(w4, w8), conv(w8, w8), conv(w8, w8))
        self.model5 = block(*(conv(w8, w8, dilation=2) for _ in range(3)))
        self.model6 = block(*(conv(w8, w8, dilation=2) for _ in range(3)))
        self.model7 = block(*(conv(w8, w8) for _ in range(3)))
        self.model8up, self.model3short8 = _up(w8, w4), nn.Sequential(conv(w4, w4))
        self.model8 = nn.Sequential(nn.ReLU(), *block(conv(w4, w4), conv(w4, w4)))
        self.model9up, self.model2short9 = _up(w4, w2), nn.Sequential(conv(w2, w2))
        self.model9 = nn.Sequential(nn.ReLU(), *block(conv(w2, w2)))
        self.model10up, self.model1short10 = _up(w2, w2), nn.Sequential(conv(w1, w2))
        self.model10 = nn.Sequential(nn.ReLU(), conv(w2, w2), nn.LeakyReLU(0.2))
        self.model_class = nn.Sequential(nn.Conv2d(w4, CLASSES, 1)).requires_grad_(False)
        self.model_out = nn.Sequential(nn.Conv2d(w2, 2, 1), nn.Tanh())
        self.initialize()

    def draw_weights(self) -> None:
        """Draw He-normal weights, and small ones for the head: training starts near gray."""
        super().draw_weights()
        nn.init.normal_(self.model_out.get_parameter("0.weight"), std=0.01)

    def network(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab; without hints, the input's channels for them are 0."""
        if hints is None:
            hints = torch.zeros_like(lightness).expand(-1, 3, -1, -1)
        known, mask = hints[:, :2], hints[:, 2:]
        full = self.model1(torch.cat([(lightness - 50) / 100, known / AB_SCALE, mask], dim=1))
        half = self.model2(full[..., ::2, ::2])
        quarter = self.model3(half[..., ::2, ::2])
        eighth = self.model4(quarter[..., ::2, ::2])
        for dilated in (self.model5, self.model6, self.model7):
            eighth = dilated(eighth)
        features = self.model8(self.model8up(eighth) + self.model3short8(quarter))
        features = self.model9(self.model9up(features) + self.model2short9(half))
        features = self.model10(self.model10up(features) + self.model1short10(full))
        return self.model_out(features) * AB_SCALE

    def published_weights(self, fold_temperature: bool = False) -> dict[str, Tensor]:
        if self.hparams["width"] != 64:
            raise UserError(f"The published siggraph17 has width 64, this one {self.hparams['width']}.")
        return dict(self.state_dict())


def _up(inputs: int, outputs: int) -> nn.Sequential:
    """Return a transposed convolution that doubles height and width."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
