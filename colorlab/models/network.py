"""ColorNetwork: what every network is, from its layers to the ab of pictures of any size."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.core.mixins import HyperparametersMixin
from torch import Tensor, nn

from colorlab.bins import STRIDE, annealed_mean
from colorlab.errors import UserError
from colorlab.models.inference import Picture, colorize
from colorlab.models.parameter_groups import TrainableModule
from colorlab.models.pretrained import PretrainedMixin


class ColorNetwork(PretrainedMixin, HyperparametersMixin, TrainableModule):
    """A network that predicts ab from L.

    A subclass defines its layers, `multiple_of` and `network`, and calls `initialize` at the end of its
    constructor. The arguments of the constructor are the architecture and nothing else, so that
    `Class(**hyper_parameters)` rebuilds the model.
    """

    multiple_of: int = 1
    """`network` takes heights and widths that are multiples of this; `forward` pads others and crops the result."""

    input_size: int = 256
    """Short side in pixels at which a picture is colored, unless another size is asked for."""

    square_input: bool = False
    """Whether a picture is squashed to a square to be colored; otherwise it keeps its shape."""

    predicts_bins: bool = False
    """Whether `network` returns the logits of the 313 color bins instead of ab."""

    takes_hints: bool = False
    """Whether `network` takes hints, [B, 3, H, W], after L: ab where they are known, else 0, and a mask of 1 and 0."""

    temperature: float = 0.38
    """Temperature at which logits are decoded to ab; see `annealed_mean`."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._compiled_network: Callable[..., Tensor] | None = None  # takes the place of `network` in training

    def initialize(self) -> None:
        """Draw the weights and store them channels-last, the layout in which convolutions are fastest."""
        self.draw_weights()
        self.to(memory_format=torch.channels_last)

    def choose_head(self, head: Literal["ab", "bins"], temperature: float) -> None:
        """Set whether the network predicts ab or bins, and the temperature at which bins are decoded.

        Raises:
            UserError: the temperature is not above 0.
        """
        if temperature <= 0:
            raise UserError(f"model.temperature={temperature:g} must be above 0.")
        self.predicts_bins, self.temperature = head == "bins", temperature

    def draw_weights(self) -> None:
        """Draw He-normal weights and set biases to zero.

        Source: He et al., "Delving Deep into Rectifiers", ICCV 2015.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def qualified_name(cls) -> str:
        """Return the name of the class in checkpoints."""
        return f"{cls.__module__}.{cls.__qualname__}"

    @property
    def title(self) -> str:
        """Name of the model in file names, pictures and messages."""
        return type(self).__name__.lower()

    def network(self, lightness: Tensor) -> Tensor:
        """Predict ab, [B, 2, H, W], or if `predicts_bins` the logits, [B, 313, H/4, W/4].

        Args:
            lightness: L, [B, 1, H, W] in 0..100; H and W are multiples of `multiple_of`.
            hints: [B, 3, H, W], a second argument if `takes_hints`.
        """
        raise NotImplementedError

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict the colors of gray pictures of any size from 16×16 up.

        Args:
            lightness: L, [B, 1, H, W], CIE L* in 0..100.
            hints: [B, 3, H, W], ab and their mask, for a network that `takes_hints`; None: no hint anywhere.

        Returns:
            ab: [B, 2, H, W], CIE a* and b* in -128..127.
        """
        return self.decode(self.raw_output(lightness, hints), lightness.shape[-2:])

    def raw_output(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return the output of `network` for pictures of any size, padded to multiples of `multiple_of`."""
        lightness = lightness.to(next(self.parameters()).dtype)  # they differ with precision=bf16-true
        pad_height, pad_width = (-size % self.multiple_of for size in lightness.shape[-2:])
        if pad_height or pad_width:
            lightness = F.pad(lightness, (0, pad_width, 0, pad_height), mode="replicate")
            hints = None if hints is None else F.pad(hints, (0, pad_width, 0, pad_height))
        return self.call_network(lightness, hints)

    def call_network(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Call `network`, compiled in training, with hints only if it takes them; None gives zeros."""
        compiled = self._compiled_network if self.training else None
        network: Callable[..., Tensor] = compiled or self.network
        if not self.takes_hints:
            return network(lightness)
        if hints is None:
            hints = torch.zeros_like(lightness).expand(-1, 3, -1, -1)
        return network(lightness, hints.to(lightness.dtype))

    def decode(self, output: Tensor, size: torch.Size, temperature: float | None = None) -> Tensor:
        """Return the ab, [B, 2, *size], of a raw output.

        Args:
            output: what `raw_output` returned.
            size: height and width of the pictures before padding.
            temperature: used to decode bins instead of the model's own.
        """
        if self.predicts_bins:
            small = annealed_mean(output, temperature or self.temperature).to(output.dtype)
            output = F.interpolate(small, scale_factor=STRIDE, mode="bilinear", align_corners=False)
        height, width = size
        return output[..., :height, :width]

    def colorize(self, image: Picture, **options: Any) -> Picture:
        """Color a PIL image, a NumPy array or a tensor of any size; see `colorlab.models.inference.colorize`."""
        return colorize(self, image, **options)
