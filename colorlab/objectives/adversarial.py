"""An adversarial loss on RGB: a critic tells photographs from predicted pictures."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from colorlab.errors import UserError
from colorlab.objectives.objective import ColorBatch, LearningObjective, Prediction
from colorlab.objectives.pictures import check_size, check_target_color, true_picture
from colorlab.spectral_norm import SpectralConv2d


class Adversarial(LearningObjective):
    """The predicted pictures are to be taken for photographs by a critic, which learns to tell them apart.

    Args:
        loss: "vanilla" is the cross-entropy of "photograph or not"; "hinge" stops at scores beyond ±1.
        lr: learning rate of the critic's Adam.
        betas: of the critic's Adam.
        width: channels of the critic's first layer.
        blocks: the critic's blocks, each of which halves height and width and doubles the channels.
        target_color: factor of the true pictures' colors, as for `Perceptual`.

    Raises:
        UserError: a value is out of its range, or in training the pictures are too small for the critic.

    Source: Goodfellow et al., "Generative adversarial nets", 2014, with the non-saturating loss of section 3; Kang et
    al., "DDColor", ICCV 2023, whose released code has the critic.
    """

    critic: "Critic"

    def __init__(
        self,
        loss: Literal["vanilla", "hinge"] = "vanilla",
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        width: int = 64,
        blocks: int = 3,
        target_color: float = 1.0,
    ) -> None:
        super().__init__()
        if lr <= 0 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"The critic needs an lr={lr:g} above 0 and betas={list(betas)} from 0 to below 1.")
        check_target_color(target_color)
        self.loss, self.lr, self.betas, self.target_color = loss, lr, betas, target_color
        self.critic = Critic(width, blocks)

    def configure_optimizer(self) -> Optimizer:
        return Adam(self.critic.parameters(), self.lr, self.betas, fused=True)

    def forward(self, prediction: Prediction, batch: ColorBatch) -> Tensor:
        score = self.critic(prediction.rgb(batch.L))
        return F.softplus(-score).mean() if self.loss == "vanilla" else -score.mean()

    def learn(self, prediction: Prediction, batch: ColorBatch) -> Tensor:
        true = self.critic(true_picture(batch, self.target_color))
        predicted = self.critic(prediction.rgb(batch.L))
        if self.loss == "vanilla":
            return F.softplus(-true).mean() + F.softplus(predicted).mean()
        return F.relu(1 - true).mean() + F.relu(1 + predicted).mean()


class Critic(nn.Module):
    """The discriminator of DDColor: convolutions with spectral norm, with self-attention after the first block.

    A convolution of stride 2 to `width` channels; blocks of a 3×3 convolution and one of stride 2 that doubles the
    channels; a 3×3 convolution; and a 4×4 convolution to one score, without padding. All but the last end in a ReLU.

    Args:
        width: channels of the first layer.
        blocks: the number of blocks.

    Raises:
        UserError: there are too few channels for the attention, or no blocks.
    """

    def __init__(self, width: int = 64, blocks: int = 3) -> None:
        super().__init__()
        if width < 4 or blocks < 1:
            raise UserError(f"The critic needs a width={width} of at least 4 and blocks={blocks} of at least 1.")
        self.smallest = 4 * 2 ** (blocks + 1)
        layers: list[nn.Module] = [SpectralConv2d(3, width, 4, 2, 1), nn.ReLU(inplace=True)]
        for block in range(blocks):
            layers += [SpectralConv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True)]
            layers += [SpectralConv2d(width, 2 * width, 4, 2, 1), nn.ReLU(inplace=True)]
            width *= 2
            if block == 0:
                layers.append(SelfAttention(width))
        layers += [SpectralConv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True)]
        layers.append(SpectralConv2d(width, 1, 4, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, rgb: Tensor) -> Tensor:
        """Score pictures, rgb [B, 3, H, W] in 0..1: [B, 1, h, w] float32, high for photographs.

        Raises:
            UserError: the pictures are too small.
        """
        check_size(rgb, self.smallest, "The critic", ", or give the adversarial objective fewer blocks")
        score: Tensor = self.layers(rgb)
        return score.float()


class SelfAttention(nn.Module):
    """Adds to each place of a feature map what an attention over all places returns, times a learned factor.

    Args:
        channels: of the feature map.

    Source: Zhang et al., "Self-attention generative adversarial networks", 2019, without its last convolution.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = SpectralConv2d(channels, channels // 8, 1, bias=False)
        self.key = SpectralConv2d(channels, channels // 8, 1, bias=False)
        self.value = SpectralConv2d(channels, channels, 1, bias=False)
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, [B, C, H, W]."""
        query, key, value = (layer(features).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return features + self.factor * attended.transpose(1, 2).reshape(features.shape)
