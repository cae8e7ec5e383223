"""The speed of training, with photographs and steps that take a known time."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from colorlab.callbacks import speed
from colorlab.callbacks.speed import Speed
from colorlab.data.batch import Batch
from colorlab.models import CUNet
from colorlab.schedules import Constant
from support.clock import Clock


class Slow(Dataset):
    """Four batches of two photographs that take a given time to read."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds, self.clock = seconds, clock

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Batch:
        self.clock.now += 2 * self.seconds
        return Batch(torch.full((2, 1, 16, 16), 50.0), torch.zeros(2, 2, 16, 16), 2 * index + torch.arange(2))


class Timed(CUNet):
    """A model whose steps take half a second, and which records the logged speeds."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(width=2)
        self.clock, self.speeds = clock, []
        self.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1e-3), Constant())

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.clock.now += 0.5
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.speeds.append(self.trainer.callback_metrics["speed/images_per_second"].item())


def test_speed_includes_waiting_for_photographs_but_not_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "time", clock := Clock())
    model = Timed(clock)
    trainer = Trainer(
        max_epochs=3, default_root_dir=tmp_path, callbacks=[Speed()], logger=False, accelerator="cpu",
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(Slow(0.25, clock), None), DataLoader(Slow(100, clock), None))
    assert model.speeds == pytest.approx([8 / (4 * 0.5 + 8 * 0.25)] * 3)
