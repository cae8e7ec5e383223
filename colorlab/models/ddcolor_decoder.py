"""The decoders of DDColor: of pixels, by convolutions, and of colors, by queries that attend to the pixels."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorlab.spectral_norm import SpectralConv2d

HEADS = 8
"""Heads of each attention."""

LEVELS = 3
"""Maps of the pixel decoder that the queries attend to in turn."""

SUBPIXELS = 4
"""Height and width of the block of full-size pixels that a pixel of the decoder's last map stands for."""


def blur(features: Tensor) -> Tensor:
    """Average each pixel with those on its left, above it and above these; the first row and column are repeated."""
    return F.avg_pool2d(F.pad(features, (1, 0, 1, 0), mode="replicate"), 2, stride=1)


# -- pixels ------------------------------------------------------------------------------------------


class Enlarger(nn.Module):
    """Doubles the height and width of a map by a convolution and a pixel shuffle.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(SpectralConv2d(inputs, 4 * outputs, bias=False), nn.BatchNorm2d(4 * outputs))

    def forward(self, features: Tensor) -> Tensor:
        return blur(F.pixel_shuffle(self.conv(features).relu(), 2))


class PixelBlock(nn.Module):
    """Enlarges a map and joins it with the encoder's map of that size.

    Args:
        inputs: channels of the smaller map.
        skipped: channels of the encoder's map.
        outputs: channels of the result.
    """

    def __init__(self, inputs: int, skipped: int, outputs: int) -> None:
        super().__init__()
        self.shuf = Enlarger(inputs, outputs)
        self.bn = nn.BatchNorm2d(skipped)
        self.conv = nn.Sequential(
            SpectralConv2d(outputs + skipped, outputs, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm2d(outputs)
        )  # fmt: skip

    def forward(self, small: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([self.shuf(small), self.bn(skip)], dim=1).relu())


class Decoder(nn.Module):
    """Both decoders.

    Args:
        encoder_widths: channels of the encoder's four maps.
        width: channels of the two smaller maps of the pixel decoder; the third and the queries have half as many.
        queries: number of color queries.
        layers: number of the color decoder's layers.
    """

    def __init__(self, encoder_widths: Sequence[int], width: int, queries: int, layers: int) -> None:
        super().__init__()
        first, second, third, fourth = encoder_widths
        hidden = width // 2
        self.layers = nn.ModuleList(
            [PixelBlock(fourth, third, width), PixelBlock(width, second, width), PixelBlock(width, first, hidden)]
        )
        self.last_shuf = nn.ModuleDict({"conv": nn.Sequential(SpectralConv2d(hidden, SUBPIXELS**2 * hidden))})
        self.color_decoder = ColorDecoder((width, width, hidden), hidden, queries, layers)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Decode the encoder's maps, the largest first.

        Returns:
            The color embeddings, [B, queries, C], and the features of the pixels before they are rearranged to full
            size and blurred, [B, C, 16, H/4, W/4].
        """
        features, levels = maps[3], []
        for block, skip in zip(self.layers, (maps[2], maps[1], maps[0]), strict=True):
            features = block(features, skip)
            levels.append(features)
        pixels = self.last_shuf["conv"](features).relu()
        return self.color_decoder(levels), pixels.unflatten(1, (-1, SUBPIXELS**2))


# -- colors ------------------------------------------------------------------------------------------


class ColorDecoder(nn.Module):
    """Layers of cross-attention to one of the maps, self-attention and a feed-forward network, on color queries.

    Args:
        widths: channels of the maps.
        hidden: channels of the queries.
        queries, layers: their numbers.

    Source: Cheng et al., "Masked-attention Mask Transformer", CVPR 2022, without the masks.
    """

    def __init__(self, widths: Sequence[int], hidden: int, queries: int, layers: int) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(queries, hidden)
        self.query_embed = nn.Embedding(queries, hidden)
        self.level_embed = nn.Embedding(LEVELS, hidden)
        self.input_proj = nn.ModuleList(nn.Conv2d(width, hidden, 1) for width in widths)
        self.transformer_cross_attention_layers = nn.ModuleList(
            Attention(hidden, "multihead_attn") for _ in range(layers)
        )
        self.transformer_self_attention_layers = nn.ModuleList(Attention(hidden, "self_attn") for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(FeedForward(hidden, 8 * hidden) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(hidden)
        self.color_embed = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(3))})
        for weight in self.parameters():
            if weight.dim() == 2 and len(weight) not in (queries, LEVELS):
                nn.init.xavier_uniform_(weight)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the color embeddings, [B, queries, hidden], for maps [B, C, H, W]."""
        values, keys = [], []
        for level, (project, features) in enumerate(zip(self.input_proj, maps, strict=True)):
            projected = project(features)
            value = projected.flatten(2).transpose(1, 2) + self.level_embed.weight[level]
            values.append(value)
            keys.append(value + sine_positions(projected).flatten(1).t())
        batch, place = maps[0].shape[0], self.query_embed.weight
        colors = self.query_feat.weight.expand(batch, -1, -1)
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for number, (cross_attention, self_attention, feed_forward) in enumerate(layers):
            level = number % LEVELS
            colors = cross_attention(colors, colors + place, keys[level], values[level])
            colors = self_attention(colors, colors + place, colors + place, colors)
            colors = feed_forward(colors)
        colors = self.decoder_norm(colors)
        embed = self.color_embed.get_submodule("layers")
        for linear in (embed.get_submodule("0"), embed.get_submodule("1")):
            colors = linear(colors).relu()
        return embed.get_submodule("2")(colors)


class Attention(nn.Module):
    """Multi-head attention with a residual connection and a norm after it.

    Args:
        hidden: channels.
        name: of the attention in files.
    """

    def __init__(self, hidden: int, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.MultiheadAttention(hidden, HEADS, batch_first=True))
        self.norm = nn.LayerNorm(hidden)
        self.name = name

    def forward(self, colors: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found, _ = self.get_submodule(self.name)(query, key, value, need_weights=False)
        return self.norm(colors + found)


class FeedForward(nn.Module):
    """Two linear layers with a residual connection and a norm after it.

    Args:
        hidden: channels.
        inner: channels between the layers.
    """

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, colors: Tensor) -> Tensor:
        return self.norm(colors + self.linear2(self.linear1(colors).relu()))


def sine_positions(features: Tensor) -> Tensor:
    """Return sines and cosines of the rows and the columns of a map, [B, C, H, W]: [C, H, W].

    Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020: the normalized embedding.
    """
    channels, height, width = features.shape[1:]
    half = channels // 2
    period = 10000 ** (2 * (torch.arange(half, device=features.device) // 2) / half)

    def axis(size: int) -> Tensor:
        place = torch.arange(1, size + 1, device=features.device)
        angle = (place / (place[-1] + 1e-6) * 2 * math.pi)[:, None] / period
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1).t()  # [half, size]

    rows = axis(height)[:, :, None].expand(-1, -1, width)
    columns = axis(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns]).to(features.dtype)
