"""VGG16 with BatchNorm, a classifier whose features are compared in perceptual losses."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import vgg16_bn

from colorlab.errors import UserError
from colorlab.runs.weight_files import read_checkpoint

FIRST_OF_BLOCK = (0, 7, 14, 24, 34)
"""Places of conv1_1, conv2_1, …, conv5_1 in torchvision's `features`."""

PUBLISHED = "vgg16_bn-*.pth"


class Vgg16(nn.Module):
    """The convolutions of VGG16 with BatchNorm up to conv5_1.

    Args:
        weights: those of torchvision's vgg16_bn, trained on ImageNet; None looks in torch's cache. Nothing is
            downloaded.

    Raises:
        UserError: there is no such file, or it holds something else.

    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        path = _cached() if weights is None else weights
        published = read_checkpoint(path)["state_dict"]
        with torch.device("meta"):
            self.layers = vgg16_bn().features[: FIRST_OF_BLOCK[-1] + 1]
        try:
            state = {name: published[f"features.{name}"] for name in self.layers.state_dict()}
            self.layers.load_state_dict(state, assign=True)
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{path} does not hold the weights of torchvision's vgg16_bn.") from error
        for key, value in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(key, torch.tensor(value).view(3, 1, 1), persistent=False)
        self.eval()

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Compute what conv1_1, conv2_1, …, conv5_1 return, before BatchNorm and ReLU.

        Args:
            rgb: [B, 3, H, W] in 0..1, H and W at least 16.

        Returns:
            Five maps, [B, C, H / stride, W / stride], of strides 1, 2, 4, 8 and 16.
        """
        features, maps = (rgb - self.mean) / self.std, []
        for place, layer in enumerate(self.layers):
            features = layer(features)
            if place in FIRST_OF_BLOCK:
                maps.append(features)
        return maps


def _cached() -> Path:
    """Return the newest file of the weights in torch's cache.

    Raises:
        UserError: there is none.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if found := sorted(folder.glob(PUBLISHED)):
        return found[-1]
    raise UserError(
        f"There are no weights of VGG16 in {folder}: put torchvision's {PUBLISHED} there, give the perceptual objective"
        " weights=FILE, or network=lite0, whose weights are installed."
    )
