"""A network that takes hints, from a Trainer to the colors of a picture."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from colorlab.data.batch import Batch
from colorlab.export.graph import Graph
from colorlab.models import Colorizer, CUNet
from colorlab.schedules import Constant

SIZE = 18


class Hinted(Colorizer):
    """A linear function of L and the hints, which records the hints it was given."""

    takes_hints = True
    multiple_of = 4

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 2, 1)
        self.given: list[Tensor] = []
        self.initialize()

    def network(self, lightness: Tensor, hints: Tensor) -> Tensor:
        self.given.append(hints)
        return self.mix(torch.cat([lightness / 100, hints], dim=1))


def batches(hinted: bool) -> DataLoader:
    """Return two batches whose hints are the whole answer."""
    L, ab = torch.rand(4, 1, SIZE, SIZE) * 100, torch.randn(4, 2, SIZE, SIZE) * 10
    hints = torch.cat([ab, torch.ones_like(L)], dim=1) if hinted else None
    whole = Batch(L, ab, torch.arange(4), hints)
    halves = [Batch(*(part if part is None else part[half] for part in whole)) for half in (slice(2), slice(2, 4))]
    return DataLoader(halves, None)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Hinted, Trainer]:
    model = Hinted()
    model.prepare_training(nn.MSELoss(), partial(torch.optim.Adam, lr=0.05), Constant(), metrics=["psnr"])
    trainer = Trainer(
        max_epochs=60, default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, batches(hinted=True))
    return model, trainer


def test_a_network_learns_from_hints_and_is_tested_with_and_without_them(trained: tuple[Hinted, Trainer]) -> None:
    model, trainer = trained
    (with_hints,) = trainer.test(model, batches(hinted=True), verbose=False)
    (without,) = trainer.test(model, batches(hinted=False), verbose=False)
    assert with_hints["test/loss"] < 2
    assert without["test/loss"] > 30
    assert with_hints["test/psnr"] > without["test/psnr"]


def test_hints_are_padded_with_zeros_and_are_all_zero_if_there_are_none() -> None:
    model = Hinted().eval()
    L, hints = torch.rand(2, 1, SIZE, SIZE) * 100, torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert not torch.allclose(model(L, hints), model(L))
        assert torch.equal(model(L, torch.zeros_like(hints)), model(L))
    given, none, *_ = model.given
    assert torch.equal(given[..., :SIZE, :SIZE], hints)
    assert not given[..., SIZE:, :].any()
    assert not given[..., SIZE:].any()
    assert none.shape == (2, 3, 20, 20)
    assert not none.any()


def test_a_picture_is_colored_and_exported_without_hints(macaw: Image.Image) -> None:
    model = Hinted().eval()
    assert model.colorize(macaw.convert("L")).size == macaw.size
    L = torch.rand(2, 1, SIZE, SIZE) * 100
    with torch.no_grad():
        assert torch.allclose(Graph(model, rgb=False)(L), model(L), atol=1e-5)


def test_a_network_without_hints_is_not_given_any() -> None:
    model, L = CUNet(width=2).eval(), torch.rand(1, 1, 16, 16) * 100
    assert not model.takes_hints
    assert torch.equal(model(L, torch.randn(1, 3, 16, 16)), model(L))
