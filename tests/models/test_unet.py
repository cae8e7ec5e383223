"""UNet in real trainings: what of its encoder changes, and what a checkpoint holds."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

import colorlab
from colorlab.encoders import Lite0
from colorlab.errors import UserError
from colorlab.models import UNet
from colorlab.objectives import Classification
from colorlab.schedules import Constant
from support.small_training import QUIET, collate, pictures


def train(model: UNet, lr: float = 1e-3, objective: nn.Module | None = None) -> Trainer:
    """Train for two steps on four pictures, from the ImageNet weights."""
    seed_everything(0, verbose=False)
    model.load_pretrained_parts()
    model.prepare_training(objective or nn.L1Loss(), partial(torch.optim.Adam, lr=lr), Constant())
    trainer = Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, DataLoader(pictures(4), batch_size=2, collate_fn=collate))
    return trainer


def changed(model: UNet) -> set[str]:
    """Return the parts of the network whose tensors are no longer those of the start."""
    pretrained = Lite0()
    pretrained.load_pretrained()
    start = {f"encoder.{name}": value for name, value in pretrained.state_dict().items()}
    return {name for name, value in model.state_dict().items() if name in start and not torch.equal(value, start[name])}


def test_a_frozen_encoder_stays_as_it_was_its_statistics_included() -> None:
    model = UNet(width=4)
    before = [weight.clone() for weight in model.decoder.parameters()]
    trainer = train(model)
    assert changed(model) == set()
    assert not any(torch.equal(*pair) for pair in zip(before, model.decoder.parameters(), strict=True))
    assert len(trainer.optimizers[0].param_groups) == 1


def test_an_encoder_may_be_trained_at_a_rate_of_its_own() -> None:
    model = UNet(width=4)
    model.encoder_lr = 0.1
    rates = [group["lr"] for group in train(model).optimizers[0].param_groups]
    assert rates == [pytest.approx(1e-3), pytest.approx(1e-4)]
    assert {"encoder.stem.0.weight", "encoder.stem.1.running_mean"} <= changed(model)


def test_a_trained_network_is_rebuilt_from_its_checkpoint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = UNet(width=4, dropout=0.2)
    train(model).save_checkpoint(tmp_path / "unet.ckpt")
    monkeypatch.setattr(Lite0, "load_pretrained", None)  # would raise
    again = colorlab.load(tmp_path / "unet.ckpt")
    lightness = torch.rand(1, 1, 40, 56) * 100
    assert isinstance(again, UNet)
    assert again(lightness).shape == (1, 2, 40, 56)
    assert torch.equal(again(lightness), model.eval()(lightness))


def test_bins_are_predicted_at_a_quarter_of_the_size() -> None:
    model = UNet(width=4, head="bins")
    assert model.raw_output(torch.rand(1, 1, 64, 96) * 100).shape == (1, 313, 16, 24)
    train(model, objective=Classification())


def test_the_colors_of_a_place_depend_on_it_and_on_the_whole_picture() -> None:
    """The skips bring what is near, the deepest map what is far."""
    model = UNet(width=4).eval()
    model.load_pretrained_parts()
    lightness = torch.rand(1, 1, 64, 64) * 100
    changed_in_a_corner = lightness.clone()
    changed_in_a_corner[..., :2, :2] += 10
    difference = (model(lightness) - model(changed_in_a_corner)).abs()
    assert difference[..., :4, :4].amax() > difference[..., 32:, 32:].amax() > 0


@pytest.mark.parametrize("encoder", ["resnet10t.c3_in1k", "convnext_atto.d2_in1k"])
def test_an_encoder_of_timm_with_or_without_a_map_at_half_the_size_fits(encoder: str) -> None:
    model = UNet(encoder=encoder, width=2).eval()
    assert model(torch.rand(1, 1, 33, 47) * 100).shape == (1, 2, 33, 47)
    again = UNet(**model.hparams).eval()
    again.load_state_dict(model.state_dict())
    lightness = torch.rand(1, 1, 32, 32) * 100
    assert torch.equal(again(lightness), model(lightness))


def test_a_dropout_outside_its_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.dropout=1 must be"):
        UNet(dropout=1.0)
