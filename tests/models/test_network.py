"""What every architecture must do. A new one that `colorlab.models` exports is tested without a change here."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from colorlab import models
from colorlab.models import Colorizer, CUNet, DDColor
from colorlab.models.parameter_groups import freeze_groups

SMALL: dict[str, Callable[[], Colorizer]] = {
    name: partial(getattr(models, name), width=4) for name in models.__all__ if name != "Colorizer"
}
SMALL["DDColor"] = partial(DDColor, width=32, queries=8, layers=3, encoder_width=8)
SMALL["CUNet_relu_max_before"] = partial(CUNet, width=4, activation="relu", pool="max", norm="before", dilation=1)


@pytest.fixture(params=SMALL)
def build(request: pytest.FixtureRequest) -> Callable[[], Colorizer]:
    return SMALL[request.param]


@pytest.fixture
def model(build: Callable[[], Colorizer]) -> Colorizer:
    return build()


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 40), (33, 100)])
@pytest.mark.parametrize("batch", [1, 3])
def test_ab_has_the_size_of_the_pictures_and_is_finite(model: Colorizer, size: tuple[int, int], batch: int) -> None:
    with torch.no_grad():
        ab = model.eval()(torch.rand(batch, 1, *size) * 100)
    assert ab.shape == (batch, 2, *size)
    assert ab.isfinite().all()
    assert ab.abs().max() <= 128


def test_bf16_predicts_nearly_the_same_by_autocast_and_by_cast(model: Colorizer) -> None:
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


def test_every_trained_parameter_gets_a_gradient(model: Colorizer) -> None:
    freeze_groups(model)
    model(torch.rand(2, 1, 32, 32) * 100).pow(2).mean().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # an encoder, or a layer of a published file without a part in the prediction
            continue
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


def test_a_saved_model_is_rebuilt_from_its_arguments_and_predicts_the_same(model: Colorizer, tmp_path: Path) -> None:
    lightness = torch.rand(1, 1, 20, 30) * 100
    model.eval().save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert dict(loaded.hparams) == dict(model.hparams)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(loaded(lightness), model(lightness))


def test_weights_are_channels_last_which_changes_no_prediction_and_no_checkpoint(
    build: Callable[[], Colorizer],
) -> None:
    model, lightness = build().eval(), torch.rand(2, 1, 24, 32) * 100
    filters = [weight for weight in model.parameters() if weight.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in filters)
    rows_first = build()
    rows_first.to(memory_format=torch.contiguous_format).load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.allclose(model(lightness), rows_first.eval()(lightness), atol=1e-3)
    again = build()
    again.load_state_dict(rows_first.state_dict())
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
