"""What the networks are shown, and how the photographs are read."""

import pytest
import torch
import torch.nn.functional as F

from colorlab.color import rgb_to_lab
from colorlab.config import check_arguments
from colorlab.data import ColorDataModule
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.evaluate.protocol import Protocol, predict_ab, with_protocol
from colorlab.images.decoding import read_photograph
from colorlab.models import CUNet


@pytest.fixture(scope="module")
def model() -> CUNet:
    torch.manual_seed(0)
    return CUNet(width=2).eval()


def photograph(height: int, width: int) -> torch.Tensor:
    rgb = read_photograph(SAMPLES / find_photographs(SAMPLES)[7])[None].float() / 255
    return F.interpolate(rgb, (height, width), mode="bilinear", antialias=True)


def test_a_picture_at_256_is_shown_unchanged(model: CUNet) -> None:
    rgb = photograph(256, 256)
    with torch.no_grad():
        assert torch.equal(predict_ab(model, rgb), model(rgb_to_lab(rgb)[0]))


@pytest.mark.parametrize("size", [(300, 421), (97, 64)])
def test_a_picture_of_another_size_gets_the_colors_predicted_at_256(model: CUNet, size: tuple[int, int]) -> None:
    rgb = photograph(*size)
    with torch.no_grad():
        found = predict_ab(model, rgb)
        shown = F.interpolate(rgb, (256, 256), mode="bilinear", antialias=True)
        small = model(rgb_to_lab(shown)[0])
    assert found.shape == (1, 2, *size)
    back = F.interpolate(found, (256, 256), mode="bilinear", antialias=True)
    assert (back - small).abs().mean() < 0.2 * small.std()


@pytest.mark.parametrize(("protocol", "key", "value"), [("stretch256", "size", 128), ("native", "batch_size", 8)])
def test_data_arguments_that_contradict_the_protocol_are_refused(protocol: Protocol, key: str, value: int) -> None:
    with pytest.raises(UserError, match=f"data.{key}={value} does not fit protocol={protocol}"):
        with_protocol(check_arguments(ColorDataModule, {key: value}, "data"), protocol)
