"""When a training stops on a signal: real Trainers, signals from this process, and two processes."""

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

from colorlab.callbacks.interruption import GracefulStop, Interruption
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
    """A callback with one hook."""

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
def stopping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GracefulStop]:
    """A callback that handles its signal."""
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    before = signal.getsignal(signal.SIGUSR1)
    if request.param is Requeue:
        yield Requeue()
    else:
        interruption = Interruption(Status(RunFolder(tmp_path), "", []))
        with interruption.handling_signals():
            yield interruption
    signal.signal(signal.SIGUSR1, before)


def signal_for(stopping: GracefulStop) -> partial:
    return partial(send_signals_to_self, NUMBERS[type(stopping)])


def signal_at(hook: str, stopping: GracefulStop) -> At:
    return At(hook, lambda *_: signal_for(stopping)())


def exception_of(stopping: GracefulStop) -> type[Interrupted]:
    return type(stopping.stop_reason())


def test_a_signal_after_the_training_stops_before_anything_else(stopping: GracefulStop, tmp_path: Path) -> None:
    """`on_fit_end` draws the curves."""
    trainer = trainer_of(tmp_path, signal_at("on_fit_end", stopping), stopping, limit_train_batches=1)
    with pytest.raises(exception_of(stopping)):
        trainer.fit(small(), BATCHES)
    assert trainer.global_step == 1


def test_a_signal_after_a_failed_training_stops_at_once(stopping: GracefulStop, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        trainer_of(tmp_path, At("on_train_batch_end", fail), stopping).fit(small(), BATCHES)
    with pytest.raises(exception_of(stopping)):
        signal_for(stopping)()


def test_a_failure_after_a_signal_is_reported_as_a_stop(tmp_path: Path) -> None:
    """A sweep then starts no further job."""
    interruption = Interruption(Status(RunFolder(tmp_path), "", []))

    def fail(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("out of memory")

    trainer = trainer_of(tmp_path, interruption, At("on_train_batch_start", fail))
    with interruption.handling_signals(), pytest.raises(Interrupted), interruption.reporting_stop():
        trainer.fit(small(), BATCHES)


def test_a_signal_during_the_test_stops_at_once(stopping: GracefulStop, tmp_path: Path) -> None:
    seen = []
    callbacks = (signal_at("on_test_start", stopping), At("on_test_end", lambda *_: seen.append("end")), stopping)
    trainer, model = trainer_of(tmp_path, *callbacks, limit_train_batches=1), small()
    trainer.fit(model, BATCHES)
    with pytest.raises(exception_of(stopping)):
        trainer.test(model, BATCHES, verbose=False)
    assert not seen


@pytest.mark.parametrize("parts", [1, 2])
def test_processes_agree_to_stop_within_an_epoch(tmp_path: Path, parts: int) -> None:
    """One of two gets the signal in the second step; both stop after the ninth, with or without accumulation."""
    stopping = GracefulStop()

    def start_step(trainer: Trainer, model: CUNet, batch: Batch, batch_idx: int) -> None:
        (tmp_path / str(trainer.global_rank)).write_text(str(trainer.global_step))
        if trainer.global_rank == 1 and trainer.global_step == 1:
            stopping.requested = signal.SIGTERM

    settings = {"devices": 2, "strategy": "ddp_fork", "accumulate_grad_batches": parts}
    with pytest.raises(ProcessExitedException, match="exit code 143"):
        trainer_of(tmp_path, At("on_train_batch_start", start_step), stopping, **settings).fit(small(), BATCHES)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["8", "8"]
