"""DDColor: "Towards Photo-Realistic Image Colorization via Dual Decoders" (Kang et al., ICCV 2023)."""

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from colorlab.color import gray_rgb
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer
from colorlab.models.convnext import ConvNeXt, trunk_weights
from colorlab.models.ddcolor_decoder import HEADS, LEVELS, SUBPIXELS, Decoder, blur
from colorlab.runs.weight_files import read_checkpoint
from colorlab.spectral_norm import SpectralConv2d

ENCODERS = {"tiny": ((3, 3, 9, 3), 96), "large": ((3, 3, 27, 3), 192)}
"""Blocks in each stage of the encoder, and channels of the first stage."""

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Mean and standard deviation of ImageNet's sRGB in 0..1, which normalize the encoder's input."""


class DDColor(Colorizer):
    """A ConvNeXt encoder, a decoder of pixels, and a decoder of colors that attends to it from learned queries.

    Layers and parameter names are those of the published networks, whose files load unchanged. Pictures are colored
    at 512×512, whatever their shape, as by the released program, unless another size is asked for; but ab is
    enlarged bilinearly, not by repeating pixels.

    Args:
        size: of the encoder: tiny or large, 55 or 228 million parameters in all.
        width: channels of the pixel decoder; the queries have half as many. 512 in the paper.
        queries: number of color queries.
        layers: number of the color decoder's layers.
        encoder_width: channels of the encoder's first stage; null means the size's, 96 or 192.

    Raises:
        UserError: the width cannot be divided among the heads of the attention, or a map is attended to by no layer.

    Source: the paper's section 3, and the released PyTorch code.
    """

    multiple_of = 32
    input_size = 512
    square_input = True

    def __init__(
        self,
        size: Literal["tiny", "large"] = "tiny",
        width: int = 512,
        queries: PositiveInt = 100,
        layers: int = 9,
        encoder_width: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        if width <= 0 or width % (2 * HEADS):
            raise UserError(f"model.width={width} must be a multiple of {2 * HEADS}.")
        if layers < LEVELS:
            raise UserError(f"model.layers={layers} must be at least {LEVELS}: they attend to {LEVELS} maps in turn.")
        depths, first = ENCODERS[size]
        first = encoder_width or first
        self.mean: Tensor
        self.std: Tensor
        for name, values in IMAGENET.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        self.encoder = nn.ModuleDict({"arch": ConvNeXt(depths, first)})
        self.decoder = Decoder([first, 2 * first, 4 * first, 8 * first], width, queries, layers)
        self.refine_net = nn.Sequential(nn.Sequential(SpectralConv2d(queries + 3, 2)))
        self.initialize()
        self.register_load_state_dict_pre_hook(_leave_out_what_does_not_matter)

    def draw_weights(self) -> None:
        """Keep the weights that the encoder and the decoders have drawn."""

    def network(self, lightness: Tensor) -> Tensor:
        """Predict ab.

        The released network multiplies the color embeddings with a map of the full size, and reduces the product
        with the head's 1×1 convolution. Both are linear, and so are the rearrangement of pixels and the blur before
        them: here embeddings and head are multiplied first, and only ab, not 256 channels, has the full size.
        """
        picture = (gray_rgb(lightness).to(lightness.dtype) - self.mean) / self.std
        colors, pixels = self.decoder(self.encoder["arch"](picture))
        head = self.refine_net.get_submodule("0.0")
        assert isinstance(head, SpectralConv2d)
        weight = head.weight()
        queries = colors.shape[1]
        mixed = torch.einsum("oq,bqc->boc", weight[:, :queries, 0, 0], colors)
        blocks = torch.einsum("boc,bcshw->boshw", mixed, pixels)
        ab = blur(F.pixel_shuffle(blocks.flatten(1, 2), SUBPIXELS))
        return ab + F.conv2d(picture, weight[:, queries:], head.bias)

    def load_pretrained_parts(self, weights: Path | None = None) -> None:
        """Load the encoder's weights from a file of an ImageNet ConvNeXt, in timm's or its authors' names.

        Raises:
            UserError: the file holds no ConvNeXt of this size.
        """
        if weights is None:
            return
        found: Any = read_checkpoint(weights)["state_dict"]
        found = found.get("model", found) if isinstance(found, dict) else {}
        encoder: nn.Module = self.encoder["arch"]
        state = encoder.state_dict()
        given = {name: value for name, value in trunk_weights(found).items() if isinstance(value, Tensor)}
        trunk = [name for name in state if not name.startswith("norm")]
        wrong = [name for name in trunk if name not in given or given[name].shape != state[name].shape]
        if wrong:
            raise UserError(
                f"model.encoder_weights={weights} holds no ConvNeXt of this size (model.size={self.hparams['size']}): "
                f"{wrong[0]} is missing or has another shape."
            )
        encoder.load_state_dict({name: given[name] for name in trunk}, strict=False)

    def published_weights(self, fold_temperature: bool = False) -> dict[str, Tensor]:
        standard = {"width": 512, "queries": 100, "layers": 9, "encoder_width": None}
        if changed := [name for name, value in standard.items() if self.hparams[name] != value]:
            name = changed[0]
            raise UserError(f"The published DDColor has {name} {standard[name]}, this one {self.hparams[name]}.")
        return dict(self.state_dict())


def _leave_out_what_does_not_matter(model: nn.Module, weights: dict[str, Any], *_: object) -> None:
    """Drop an encoder's classifier from weights; add constants and the unused norm if they are missing."""
    for name in [name for name in weights if name.startswith("encoder.arch.head.")]:
        del weights[name]
    for name, values in IMAGENET.items():
        weights.setdefault(name, torch.tensor(values).view(1, 3, 1, 1))
    channels = model.get_parameter("encoder.arch.norm.weight").shape
    weights.setdefault("encoder.arch.norm.weight", torch.ones(channels))
    weights.setdefault("encoder.arch.norm.bias", torch.zeros(channels))
