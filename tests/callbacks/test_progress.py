"""What a training says about its progress, on a terminal of 80 columns and in a log."""

import io
import logging
import re
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from colorlab.callbacks import bars, pace
from colorlab.callbacks.pace import duration
from colorlab.callbacks.progress import Progress
from colorlab.data.batch import Batch
from colorlab.models import CUNet
from colorlab.schedules import Constant
from support.clock import Clock

BATCHES = 12
ENDLESS = 1000
"""Epochs of a training that ends after the first one."""


class Timed(CUNet):
    """A model whose steps take a second, the first one 100 seconds, and whose validation takes 8."""

    def __init__(self, clock: Clock, seconds: float = 1.0) -> None:
        super().__init__(width=2)
        self.clock, self.seconds = clock, seconds
        self.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1e-3), Constant())

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.clock.now += self.seconds if self.global_step else 100
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.clock.now += 8
        self.trainer.should_stop = self.trainer.max_epochs == ENDLESS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def loader() -> DataLoader:
    batches = [Batch(torch.full((2, 1, 16, 16), 50.0), torch.zeros(2, 2, 16, 16), torch.arange(2))] * BATCHES
    return DataLoader(batches, None)


def train(folder: Path, model: Timed, **limits: object) -> None:
    settings = {"max_epochs": 3, "log_every_n_steps": 1, "limit_val_batches": 1} | limits
    trainer = Trainer(
        default_root_dir=folder, callbacks=[Progress()], logger=False, accelerator="cpu", num_sanity_val_steps=0,
        enable_model_summary=False, enable_checkpointing=False, **settings,
    )  # fmt: skip
    trainer.fit(model, loader(), loader())


def test_a_line_per_epoch_has_loss_psnr_rate_speed_and_time_left(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "colorlab")
    train(tmp_path, Timed(clock), check_val_every_n_epoch=2)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch")]
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert re.fullmatch(r"epoch 1/3: loss \S+, lr 0.001, 2 images/s, 4 min left", lines[0]), "two epochs as the first"
    assert re.fullmatch(
        r"epoch 2/3: loss \S+, validation \S+, PSNR \d\d\.\d\d dB, lr 0.001, 2 images/s, 20 s left", lines[1]
    )
    assert re.fullmatch(r"epoch 3/3: loss \S+, lr 0.001, 2 images/s", lines[2]), "this epoch was not validated"


def test_after_some_steps_the_duration_is_told_without_the_warm_up_and_what_would_be_faster(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "colorlab")
    train(tmp_path, Timed(clock), max_epochs=ENDLESS, limit_train_batches=8)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("colorlab")]
    assert told[0] == "An epoch takes about 8 s, the training about 2 h 13 min."
    assert told[1].startswith("Faster: model=unet")


def test_steps_are_counted_if_the_training_ends_by_them(tmp_path: Path, clock: Clock) -> None:
    model = Timed(clock)
    seen = []
    model.on_train_batch_end = lambda *_: seen.append(pace_of(model).seconds_left(model.trainer.global_step))
    train(tmp_path, model, max_epochs=-1, max_steps=8)
    assert seen[:2] == [None, None], "the first steps are not timed"
    assert seen[2:] == [5, 4, 3, 2, 1, 0]


def pace_of(model: CUNet) -> pace.Pace:
    return model.trainer.progress_bar_callback._pace


def test_a_terminal_of_80_columns_shows_one_line(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        bars, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=80, _environ={})
    )
    train(tmp_path, Timed(clock, 3600), max_epochs=ENDLESS)
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    full = r"epoch 1/1000 ━+\s+12/12 0.000556 images/s, \d+ d \d+ h left, loss \S+"
    assert [line for line in lines if re.fullmatch(full, line)], lines


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (99, "99 s"), (100, "2 min"), (5999, "1 h 40 min"), (200_000, "2 d 8 h")]
)
def test_durations_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
