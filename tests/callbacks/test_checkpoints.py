"""`last.ckpt` and the rows of metrics.csv, in real trainings that validate at unusual steps."""

import signal
from pathlib import Path

import torch
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from colorlab.callbacks.checkpoints import Last
from colorlab.callbacks.interruption import GracefulStop
from colorlab.data.batch import Batch
from colorlab.errors import Interrupted
from colorlab.loggers import MetricsCSV
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.schedules import Constant

BATCH = Batch(torch.full((1, 1, 16, 16), 50.0), torch.zeros(1, 2, 16, 16), torch.tensor([0]))
TEN, ONE = DataLoader([BATCH] * 10, None), DataLoader([BATCH], None)


class StopInStep(Callback):
    """Requests a stop in a given step, and records after which steps validation runs."""

    def __init__(self, stopping: GracefulStop, step: int | None) -> None:
        self.stopping, self.step = stopping, step
        self.validated: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step + 1 == self.step:
            self.stopping.requested = signal.SIGTERM

    def on_validation_start(self, trainer: Trainer, model: CUNet) -> None:
        self.validated.append(trainer.global_step)


def fit(folder: Path, epochs: int, step: int | None = None, **settings: object) -> list[int]:
    """Train or resume, optionally until a stop in a given step; return after which steps validation ran."""
    torch.manual_seed(0)
    model, stopping, last = CUNet(width=2), GracefulStop(), folder / "last.ckpt"
    model.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())
    recorder = StopInStep(stopping, step)
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, logger=MetricsCSV(str(folder)), accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[recorder, Last(str(folder)), stopping], **settings,
    )  # fmt: skip
    try:
        trainer.fit(model, TEN, ONE, ckpt_path=last if last.exists() else None, weights_only=True)
    except Interrupted:
        assert step is not None
    return recorder.validated


def test_a_resumed_run_validates_after_the_same_steps_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """Every seven steps across epochs. A checkpoint between a step and its validation would lose the validation."""
    settings, uninterrupted = {"check_val_every_n_epoch": None, "val_check_interval": 7}, tmp_path / "uninterrupted"
    assert fit(uninterrupted, 3, **settings) == [7, 14, 21, 28]
    for step in (5, 14):
        folder = tmp_path / str(step)
        assert fit(folder, 3, step, **settings) + fit(folder, 3, **settings) == [7, 14, 21, 28]
        assert RunFolder(folder).metrics.read_text() == RunFolder(uninterrupted).metrics.read_text()


def test_a_row_of_metrics_csv_holds_only_values_of_its_epoch(tmp_path: Path) -> None:
    fit(tmp_path, 4, check_val_every_n_epoch=2)
    metrics = read_metrics(RunFolder(tmp_path))
    assert list(metrics["train/loss"]) == [0, 1, 2, 3]
    assert list(metrics["val/loss"]) == [1, 3]
