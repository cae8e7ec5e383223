"""When a training that is asked to leave does so: real Trainers, signals of this very process, and two processes."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from torch.multiprocessing import ProcessExitedException
from torch.utils.data import DataLoader

from colorlab.callbacks.interruption import Interruption, Stopping
from colorlab.callbacks.requeue import Requeue
from colorlab.data.batch import Batch
from colorlab.errors import Interrupted
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.runs.status import Status
from colorlab.schedules import Constant
from support.fault_injection import send_signals_to_self

BATCHES = DataLoader([Batch(torch.full((1, 1, 16, 16), 50.0), torch.zeros(1, 2, 16, 16), torch.tensor([0]))] * 40, None)
NUMBERS = {Interruption: signal.SIGTERM, Requeue: signal.SIGUSR1}


class At(Callback):
    """Does something in a hook."""

    def __init__(self, hook: str, do: object) -> None:
        setattr(self, hook, do)


def trainer_of(folder: Path, *callbacks: Callback, **settings: object) -> Trainer:
    return Trainer(
        max_epochs=1, default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, limit_test_batches=1, callbacks=list(callbacks),
        **settings,
    )  # fmt: skip


def small() -> CUNet:
    model = CUNet(width=2)
    model.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())
    return model


@pytest.fixture(params=NUMBERS, ids=lambda kind: kind.__name__)
def stopping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stopping]:
    """One that hears the signal which it is for."""
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    before = signal.getsignal(signal.SIGUSR1)
    if request.param is Requeue:
        yield Requeue()
    else:
        interruption = Interruption(Status(RunFolder(tmp_path), "", []))
        with interruption.heeded():
            yield interruption
    signal.signal(signal.SIGUSR1, before)


def asking(stopping: Stopping) -> partial:
    return partial(send_signals_to_self, NUMBERS[type(stopping)])


def asked_at(hook: str, stopping: Stopping) -> At:
    return At(hook, lambda *_: asking(stopping)())


def left_by(stopping: Stopping) -> type[Interrupted]:
    return type(stopping.reason())


def test_asked_when_the_training_has_ended_it_leaves_before_anything_else(stopping: Stopping, tmp_path: Path) -> None:
    """In `on_fit_end`, the curves are drawn."""
    trainer = trainer_of(tmp_path, asked_at("on_fit_end", stopping), stopping, limit_train_batches=1)
    with pytest.raises(left_by(stopping)):
        trainer.fit(small(), BATCHES)
    assert trainer.global_step == 1


def test_asked_after_a_training_that_failed_it_leaves_at_once(stopping: Stopping, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        trainer_of(tmp_path, At("on_train_batch_end", fail), stopping).fit(small(), BATCHES)
    with pytest.raises(left_by(stopping)):
        asking(stopping)()


def test_asked_in_a_step_that_fails_it_leaves_all_the_same(tmp_path: Path) -> None:
    """In a sweep no other job begins then."""
    interruption = Interruption(Status(RunFolder(tmp_path), "", []))

    def fail(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("out of memory")

    trainer = trainer_of(tmp_path, interruption, At("on_train_batch_start", fail))
    with interruption.heeded(), pytest.raises(Interrupted), interruption.not_forgotten():
        trainer.fit(small(), BATCHES)


def test_asked_in_the_test_it_leaves_at_once(stopping: Stopping, tmp_path: Path) -> None:
    seen = []
    callbacks = (asked_at("on_test_start", stopping), At("on_test_end", lambda *_: seen.append("end")), stopping)
    trainer, model = trainer_of(tmp_path, *callbacks, limit_train_batches=1), small()
    trainer.fit(model, BATCHES)
    with pytest.raises(left_by(stopping)):
        trainer.test(model, BATCHES, verbose=False)
    assert not seen


@pytest.mark.parametrize("parts", [1, 2])
def test_processes_agree_to_stop_within_an_epoch(tmp_path: Path, parts: int) -> None:
    """One of two is asked in the second step, and both leave after the ninth, of however many batches."""
    stopping = Stopping()

    def begin(trainer: Trainer, model: CUNet, batch: Batch, batch_idx: int) -> None:
        (tmp_path / str(trainer.global_rank)).write_text(str(trainer.global_step))
        if trainer.global_rank == 1 and trainer.global_step == 1:
            stopping.asked = signal.SIGTERM

    settings = {"devices": 2, "strategy": "ddp_fork", "accumulate_grad_batches": parts}
    with pytest.raises(ProcessExitedException, match="exit code 143"):
        trainer_of(tmp_path, At("on_train_batch_start", begin), stopping, **settings).fit(small(), BATCHES)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["8", "8"]
