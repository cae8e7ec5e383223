"""ConvNeXt as an encoder: "A ConvNet for the 2020s" (Liu et al., CVPR 2022), with DDColor's names and norms."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

EPSILON = 1e-6
"""Added to the variance by every norm of the network."""


class ConvNeXt(nn.Module):
    """Four stages of residual blocks, at 1/4, 1/8, 1/16 and 1/32 of the picture's height and width.

    Each stage's output is normalized once more for the decoder; the next stage goes on from before that norm. `norm`
    is in the published files and has no part in the result: it is not trained.

    Args:
        depths: number of blocks in each stage.
        width: channels of the first stage; the others have 2, 4 and 8 times as many.
    """

    def __init__(self, depths: Sequence[int], width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), ChannelNorm(width))
        halvings = (
            nn.Sequential(ChannelNorm(inputs), nn.Conv2d(inputs, outputs, 2, stride=2))
            for inputs, outputs in pairwise(widths)
        )
        self.downsample_layers = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(channels) for _ in range(depth)))
            for depth, channels in zip(depths, widths, strict=True)
        )
        for stage, channels in enumerate(widths):
            self.add_module(f"norm{stage}", ChannelNorm(channels))
        self.norm = nn.LayerNorm(widths[-1], EPSILON).requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Return the normalized maps of the four stages for pictures, [B, 3, H, W], normalized as ImageNet's."""
        maps = []
        for number, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            picture = stage(downsample(picture))
            normalized = self.get_submodule(f"norm{number}")(picture)
            maps.append(normalized.contiguous())  # torch.export cannot reason about BatchNorm on other layouts
        return maps


class Block(nn.Module):
    """A depthwise convolution and two linear layers on each pixel, scaled and added to the input.

    Args:
        channels: of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, EPSILON)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(1e-6 * self.norm.weight.detach())

    def forward(self, features: Tensor) -> Tensor:
        rows = self.norm(self.dwconv(features).movedim(1, -1))
        rows = self.gamma * self.pwconv2(self.act(self.pwconv1(rows)))
        return features + rows.movedim(-1, 1)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


# -- weights trained by others -----------------------------------------------------------------------

TIMM_NAMES = (
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"^head\.norm\.", "norm."),
)
"""Patterns of timm's names of a ConvNeXt's tensors, and the original's names."""


def trunk_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a classifier's ConvNeXt by the names of this encoder, without the classifier.

    Args:
        weights: a state dict with timm's or the original's names.
    """
    return {name: value for name, value in _renamed(weights) if not name.startswith("head.")}


def _renamed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        for pattern, replacement in TIMM_NAMES:
            name = re.sub(pattern, replacement, name)
        yield name, value
