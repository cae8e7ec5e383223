"""ECCV16 against the published network: names, shapes, strides, dilations, and files of its weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from colorlab.bins import CENTERS
from colorlab.models import ECCV16
from colorlab.models.weights import read_weights


def published_eccv16() -> dict[str, tuple[int, ...]]:
    """Return the parameter names and shapes of `colorization_release_v2`, from the paper's layer table."""
    convolutions = {
        "model1": [(1, 64), (64, 64)],
        "model2": [(64, 128), (128, 128)],
        "model3": [(128, 256), (256, 256), (256, 256)],
        "model4": [(256, 512), (512, 512), (512, 512)],
        "model5": [(512, 512)] * 3,
        "model6": [(512, 512)] * 3,
        "model7": [(512, 512)] * 3,
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for block, pairs in convolutions.items():
        for place, (inputs, outputs) in enumerate(pairs):
            shapes[f"{block}.{2 * place}.weight"] = (outputs, inputs, 3, 3)
            shapes[f"{block}.{2 * place}.bias"] = (outputs,)
        norm = f"{block}.{2 * len(pairs)}"
        shapes |= {f"{norm}.{name}": (outputs,) for name in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{norm}.num_batches_tracked"] = ()
    shapes |= {"model8.0.weight": (512, 256, 4, 4), "model8.0.bias": (256,)}
    shapes |= {"model8.2.weight": (256, 256, 3, 3), "model8.2.bias": (256,)}
    shapes |= {"model8.4.weight": (256, 256, 3, 3), "model8.4.bias": (256,)}
    shapes |= {"model8.6.weight": (313, 256, 1, 1), "model8.6.bias": (313,), "model_out.weight": (2, 313, 1, 1)}
    return shapes


@pytest.fixture(scope="module")
def full_size() -> ECCV16:
    return ECCV16()


def test_eccv16_has_the_published_names_shapes_and_number_of_parameters(full_size: ECCV16) -> None:
    assert {name: tuple(value.shape) for name, value in full_size.state_dict().items()} == published_eccv16()
    assert sum(parameter.numel() for parameter in full_size.parameters()) == 32_236_011


@pytest.mark.parametrize("head", ["ab", "bins"])
def test_a_file_in_the_published_layout_loads_and_bins_keep_their_centers(head: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    published = {name: torch.rand(shape, generator=generator) for name, shape in published_eccv16().items()}
    torch.save(published, tmp_path / "release.pth")
    model = ECCV16(head=head)
    read_weights(model, tmp_path / "release.pth")
    if head == "bins":
        published["model_out.weight"] = CENTERS.T[..., None, None] / 110
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in published.items() if value.dim())


def test_eccv16_has_the_strides_and_dilations_of_the_paper(full_size: ECCV16) -> None:
    convolutions = [module for module in full_size.modules() if isinstance(module, nn.Conv2d)]
    strides = [convolution.stride[0] for convolution in convolutions]
    dilations = [convolution.dilation[0] for convolution in convolutions]
    assert strides == [1, 2, 1, 2, 1, 1, 2] + [1] * 16
    assert dilations == [1] * 10 + [2] * 6 + [1] * 7
    assert sum(isinstance(module, nn.BatchNorm2d) for module in full_size.modules()) == 7
    features = full_size.model1(torch.zeros(1, 1, 64, 64))
    for block, size in zip(range(2, 9), (16, 8, 8, 8, 8, 8, 16), strict=True):
        features = getattr(full_size, f"model{block}")(features)
        assert features.shape[-1] == size
