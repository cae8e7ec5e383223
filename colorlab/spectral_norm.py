"""Convolutions with spectral norm: the largest singular value of each is 1. DDColor and critics are made of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpectralConv2d(nn.Module):
    """A convolution whose weight, as a matrix [outputs, rest], is divided by its largest singular value.

    It computes what `torch.nn.utils.spectral_norm` computes of a `Conv2d`, with the same names in files, but without
    hooks that set attributes: it can be copied, pickled, compiled and exported. The singular value is estimated in
    float32, also under autocast; each forward pass in training improves it by one step of the power iteration.

    Args:
        inputs, outputs: channels.
        kernel, stride, padding, bias: as for `nn.Conv2d`.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight_orig = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        nn.init.kaiming_normal_(self.weight_orig, nonlinearity="relu")
        self.register_buffer("weight_u", torch.randn(outputs))
        self.register_buffer("weight_v", torch.empty(inputs * kernel * kernel))
        for _ in range(15):  # for a network that is used before it is trained
            self._improve(self.weight_orig.detach().flatten(1))

    def weight(self) -> Tensor:
        """Return the normalized weight, [outputs, inputs, kernel, kernel]."""
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            matrix = self.weight_orig.flatten(1)
            if self.training:
                self._improve(matrix.detach())
            u, v = self.weight_u.clone(), self.weight_v.clone()  # autograd keeps them; the next step changes them
            return self.weight_orig / torch.dot(u, torch.mv(matrix, v))

    def forward(self, features: Tensor) -> Tensor:
        return F.conv2d(features, self.weight(), self.bias, self.stride, self.padding)

    @torch.no_grad()
    def _improve(self, matrix: Tensor) -> None:
        self.weight_v.copy_(F.normalize(torch.mv(matrix.t(), self.weight_u), dim=0, eps=1e-12))
        self.weight_u.copy_(F.normalize(torch.mv(matrix, self.weight_v), dim=0, eps=1e-12))
