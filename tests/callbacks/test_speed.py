"""The speed of training, on photographs that take a known time to arrive."""

import time
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from colorlab.callbacks.speed import Speed
from colorlab.data.device import Batch
from colorlab.models import CUNet
from colorlab.schedules import Constant


class Slow(Dataset):
    """Eight pictures that keep one waiting."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Batch:
        time.sleep(self.seconds)
        return Batch(torch.full((1, 16, 16), 50.0), torch.zeros(2, 16, 16), torch.tensor(index))


class Timed(CUNet):
    """A model with its own clock, from the beginning of an epoch to the end of its last training batch."""

    def __init__(self) -> None:
        super().__init__(width=2)
        self.seconds, self.speeds = [], []
        self.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1e-3), Constant())

    def on_train_epoch_start(self) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            self.seconds.append(time.perf_counter() - self.began)

    def on_train_epoch_end(self) -> None:
        self.speeds.append(self.trainer.callback_metrics["speed/images_per_second"].item())


def test_waiting_for_photographs_counts_and_validation_does_not(tmp_path: Path) -> None:
    model = Timed()
    trainer = Trainer(
        max_epochs=2, default_root_dir=tmp_path, callbacks=[Speed()], logger=False, accelerator="cpu",
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(Slow(0.02), batch_size=2), DataLoader(Slow(0.04), batch_size=2))
    assert model.speeds == pytest.approx([8 / seconds for seconds in model.seconds], rel=0.05)
    assert max(model.speeds) < 8 / (6 * 0.02)  # the first batch may have arrived before the clock began
