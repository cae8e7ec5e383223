"""A job that SLURM takes the machine from: the command itself, told by a signal, on a SLURM of one line."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from colorlab.models import Colorizer
from colorlab.runs.folder import RunFolder
from support.commands import SMALL, train_exit_code
from support.fault_injection import at_call, send_signals_to_self
from support.runs import same_run

JOB = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
RUN = (
    *SMALL, "data.size=16", "data.workers=0", "trainer.max_epochs=1", "metrics=[psnr]",
    "callbacks.comparison=null", "callbacks.curves=null",
    "+callbacks.requeue._target_=colorlab.callbacks.requeue.Requeue",
    "+callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging", "+callbacks.ema.decay=0.9",
    "callbacks.every.every_n_train_steps=7", "callbacks.every.filename='step{step}'",
)  # fmt: skip


@pytest.fixture
def requeued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """What `scontrol` was told."""
    told = tmp_path / "told"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    yield told
    signal.signal(signal.SIGUSR1, before)


def test_a_job_that_is_queued_again_ends_as_an_undisturbed_one_whatever_else_follows_its_steps(
    requeued: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Averaged weights, and a checkpoint that is due after the very step."""
    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, *RUN, "hydra.run.dir=undisturbed") == 0
    with monkeypatch.context() as told:
        told.setattr(Colorizer, "training_step", Colorizer.training_step)  # as it is again afterwards
        at_call(
            "colorlab.models.colorizer:Colorizer.training_step", 7, do=partial(send_signals_to_self, signal.SIGUSR1)
        )
        assert train_exit_code(monkeypatch, *RUN, "hydra.run.dir=run") == 143
    assert requeued.read_text() == "requeue 7\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train_exit_code(monkeypatch, *RUN, "hydra.run.dir=run") == 0
    assert same_run(RunFolder(tmp_path / "run"), RunFolder(tmp_path / "undisturbed"))
