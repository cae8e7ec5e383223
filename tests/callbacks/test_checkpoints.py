"""The checkpoint that a run goes on from, and its rows, in real trainings that validate at odd moments."""

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


class Asked(Callback):
    """Notes after which steps it is validated, and asks to leave in a certain step."""

    def __init__(self, stopping: GracefulStop, step: int | None) -> None:
        self.stopping, self.step = stopping, step
        self.validated: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step + 1 == self.step:
            self.stopping.requested = signal.SIGTERM

    def on_validation_start(self, trainer: Trainer, model: CUNet) -> None:
        self.validated.append(trainer.global_step)


def fit(folder: Path, epochs: int, step: int | None = None, **settings: object) -> list[int]:
    """Train, or go on, maybe until told to leave in a certain step; after which steps it was validated."""
    torch.manual_seed(0)
    model, stopping, last = CUNet(width=2), GracefulStop(), folder / "last.ckpt"
    model.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())
    asked = Asked(stopping, step)
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, logger=MetricsCSV(str(folder)), accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[asked, Last(str(folder)), stopping], **settings,
    )  # fmt: skip
    try:
        trainer.fit(model, TEN, ONE, ckpt_path=last if last.exists() else None, weights_only=True)
    except Interrupted:
        assert step is not None
    return asked.validated


def test_a_run_that_goes_on_is_validated_when_an_undisturbed_one_is(tmp_path: Path) -> None:
    """Every seven steps, whatever the epoch: after some, a checkpoint would be the end of the validation due."""
    settings, undisturbed = {"check_val_every_n_epoch": None, "val_check_interval": 7}, tmp_path / "undisturbed"
    assert fit(undisturbed, 3, **settings) == [7, 14, 21, 28]
    for step in (5, 14):
        folder = tmp_path / str(step)
        assert fit(folder, 3, step, **settings) + fit(folder, 3, **settings) == [7, 14, 21, 28]
        assert RunFolder(folder).metrics.read_text() == RunFolder(undisturbed).metrics.read_text()


def test_an_epochs_row_holds_what_was_measured_in_it(tmp_path: Path) -> None:
    fit(tmp_path, 4, check_val_every_n_epoch=2)
    metrics = read_metrics(RunFolder(tmp_path))
    assert list(metrics["train/loss"]) == [0, 1, 2, 3]
    assert list(metrics["val/loss"]) == [1, 3]
