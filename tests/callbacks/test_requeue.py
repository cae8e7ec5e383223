"""A job that SLURM preempts: the real command, a real signal, and a script in place of `scontrol`."""

import os
import re
import shutil
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
    *SMALL, "data.size=16", "trainer.max_epochs=1",
    "+callbacks.requeue._target_=colorlab.callbacks.requeue.Requeue",
    "+callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging", "+callbacks.ema.decay=0.9",
    "callbacks.every.every_n_train_steps=3", "callbacks.every.filename='step{step}'",
)  # fmt: skip


@pytest.fixture
def scontrol_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The file of the arguments that `scontrol` was called with."""
    log = tmp_path / "log"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    yield log
    signal.signal(signal.SIGUSR1, before)


def test_a_requeued_job_ends_with_the_weights_of_an_uninterrupted_one(
    scontrol_log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Also the averaged weights, with another checkpoint due after the same step, and with a damaged last.ckpt."""
    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, *RUN, "hydra.run.dir=uninterrupted") == 0
    with monkeypatch.context() as patched:
        patched.setattr(
            Colorizer, "training_step", Colorizer.training_step
        )  # restored after the block, which at_call wraps in place
        at_call(
            "colorlab.models.colorizer:Colorizer.training_step", 3, do=partial(send_signals_to_self, signal.SIGUSR1)
        )
        assert train_exit_code(monkeypatch, *RUN, "hydra.run.dir=run") == 143
    assert scontrol_log.read_text() == "requeue 7\n"
    shutil.copytree("run", "damaged")
    last = Path("damaged/checkpoints/last.ckpt")
    last.write_bytes(last.read_bytes()[:-1000])
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for name in ("run", "damaged"):
        assert train_exit_code(monkeypatch, *RUN, f"hydra.run.dir={name}") == 0
        assert same_run(RunFolder(tmp_path / name), RunFolder(tmp_path / "uninterrupted"))
    said = capsys.readouterr().out
    assert re.findall(
        r"/(\w+/checkpoints/last\.ckpt) is damaged \([^)]*\): the requeued run resumes from .*/step", said
    ) == [str(last)]
