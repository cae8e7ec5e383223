"""What every model must do, and what each of them must be."""

from pathlib import Path

import pytest
import torch
from torch import nn

import colorlab
from colorlab.errors import UserError
from colorlab.models import ECCV16, Colorizer, CUNet
from colorlab.models.weights import read_checkpoint

SMALL = {
    "eccv16": lambda: ECCV16(width=4),
    "cunet": lambda: CUNet(width=4),
    "cunet_relu_max_before": lambda: CUNet(width=4, activation="relu", pool="max", norm="before", dilation=1),
}


@pytest.fixture(params=SMALL)
def model(request: pytest.FixtureRequest) -> Colorizer:
    torch.manual_seed(0)
    return SMALL[request.param]()


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 40), (33, 100)])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_size_and_batch_gives_ab_of_the_same_size(model: Colorizer, size: tuple[int, int], batch: int) -> None:
    with torch.no_grad():
        ab = model.eval()(torch.rand(batch, 1, *size) * 100)
    assert ab.shape == (batch, 2, *size)
    assert ab.isfinite().all()
    assert ab.abs().max() <= 128


def test_bf16_works_by_autocast_and_by_cast(model: Colorizer) -> None:
    lightness = torch.rand(2, 1, 24, 40) * 100
    model.eval()
    with torch.no_grad():
        exact = model(lightness)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(lightness)
        cast = model.bfloat16()(lightness.bfloat16())
    assert cast.dtype == torch.bfloat16
    for rough in (mixed, cast):
        assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max() + 1


def test_every_parameter_gets_a_gradient(model: Colorizer) -> None:
    model(torch.rand(2, 1, 32, 32) * 100).pow(2).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_gradient_steps_lower_the_loss(model: Colorizer) -> None:
    lightness, ab = torch.rand(4, 1, 32, 32) * 100, torch.tensor([20.0, -30.0])[:, None, None].expand(4, 2, 32, 32)
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(lightness), ab)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


# -- what they are -----------------------------------------------------------------------------------


def published_eccv16() -> dict[str, tuple[int, ...]]:
    """Names and shapes of `colorization_release_v2`, written down from the paper's layer table."""
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
def full_eccv16() -> ECCV16:
    return ECCV16()


def test_eccv16_has_the_published_names_shapes_and_count(full_eccv16: ECCV16) -> None:
    assert {name: tuple(value.shape) for name, value in full_eccv16.state_dict().items()} == published_eccv16()
    assert sum(parameter.numel() for parameter in full_eccv16.parameters()) == 32_236_011


def test_eccv16_loads_a_published_layout_strictly(full_eccv16: ECCV16, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    published = {name: torch.rand(shape, generator=generator) for name, shape in published_eccv16().items()}
    torch.save(published, tmp_path / "release.pth")
    loaded = ECCV16(weights=str(tmp_path / "release.pth")).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in published.items() if value.dim())


def test_eccv16_has_the_strides_and_dilations_of_the_paper(full_eccv16: ECCV16) -> None:
    convolutions = [module for module in full_eccv16.modules() if isinstance(module, nn.Conv2d)]
    strides = [convolution.stride[0] for convolution in convolutions]
    dilations = [convolution.dilation[0] for convolution in convolutions]
    assert strides == [1, 2, 1, 2, 1, 1, 2] + [1] * 16
    assert dilations == [1] * 10 + [2] * 6 + [1] * 7
    assert sum(isinstance(module, nn.BatchNorm2d) for module in full_eccv16.modules()) == 7
    features = full_eccv16.model1(torch.zeros(1, 1, 64, 64))
    for block, size in zip(range(2, 9), (16, 8, 8, 8, 8, 8, 16), strict=True):
        features = getattr(full_eccv16, f"model{block}")(features)
        assert features.shape[-1] == size


def test_cunet_has_the_reports_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in CUNet().parameters()) == 23_156_674


def test_cunets_options_are_real() -> None:
    def kinds(model: CUNet) -> list[str]:
        return [type(module).__name__ for module in model.bottom[0]]

    assert kinds(CUNet(width=4)) == ["Conv2d", "Sigmoid", "BatchNorm2d"]
    assert kinds(CUNet(width=4, activation="relu", norm="before")) == ["Conv2d", "BatchNorm2d", "ReLU"]
    dilations = [unit[0].dilation[0] for unit in CUNet(width=4, dilation=3).bottom]
    assert dilations == [1, 1, 3, 3, 3, 3, 1, 1]
    torch.manual_seed(0)
    average = CUNet(width=4).eval()
    torch.manual_seed(0)
    largest = CUNet(width=4, pool="max").eval()
    picture = torch.rand(1, 1, 16, 16) * 100
    assert not torch.equal(average(picture), largest(picture))


# -- weights -----------------------------------------------------------------------------------------


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save(CUNet(width=4).state_dict(), tmp_path / "cunet.pth")
    with pytest.raises(UserError, match="holds the weights of another model than eccv16"):
        ECCV16(width=4, weights=str(tmp_path / "cunet.pth"))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match="is not a checkpoint"):
        colorlab.load(tmp_path / "x.ckpt")


def test_loading_never_runs_a_files_code(tmp_path: Path) -> None:
    import os

    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "owned").exists()


def test_bare_weights_say_how_to_use_them(tmp_path: Path) -> None:
    torch.save(CUNet(width=4).state_dict(), tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"model\.weights="):
        colorlab.load(tmp_path / "bare.pth")
