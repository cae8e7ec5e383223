"""Training in two processes, against one; strategies whose processes would lose what a run logs are refused."""

import csv
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.checkpoints import largest_difference, read_checkpoint
from support.command_process import run_forked
from support.commands import SMALL, train_exit_code


@pytest.mark.parametrize("flag", [(), ("-m",)])
def test_spawned_processes_are_refused_because_they_lose_what_they_log(
    flag: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """Spawned and forked processes log to copies of the loggers: what the test logs would replace metrics.csv."""
    monkeypatch.chdir(tmp_path)
    spawn = ("trainer.strategy=ddp_spawn", "trainer.devices=2", "hydra.run.dir=run", "hydra.sweep.dir=sweep")
    assert train_exit_code(monkeypatch, *flag, *SMALL, *spawn) == 2
    instead = "trainer.devices=1 or hydra/launcher=submitit_slurm" if flag else "trainer.strategy=ddp.\n"
    error = capsys.readouterr().err
    assert "trainer.strategy=ddp_spawn loses what is logged" in error
    assert f"choose {instead}" in error
    assert "Traceback" not in error


PLAIN = """
import colorlab.models
from torch import nn
from colorlab.models import Colorizer
from colorlab.train.__main__ import main

class Plain(Colorizer):  # without BatchNorm, whose statistics are each process's own
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
        self.initialize()

    def network(self, lightness):
        return self.layers((lightness - 50) / 50)

colorlab.models.Plain = Plain
main()
"""


@pytest.fixture(scope="module")
def of_one_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of the model above: in one process with 16 pictures at once; in two with 8 each; in parts of 8.

    The latter two read from a cache.
    """
    where = tmp_path_factory.mktemp("batch")
    script = where / "plain.py"
    script.write_text(PLAIN)
    model = ("model._target_=colorlab.models.Plain", "schedule=cosine", "schedule.warmup=1", "trainer.max_epochs=2")
    small = ("data.size=32", "data.workers=0", "logger=csv", "test=false", "metrics=[psnr]", "callbacks.curves=null")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=4")
    one, parts = (("trainer=cpu", f"trainer.limit_train_batches={count}") for count in (4, 8))
    kept = ("callbacks.every.every_n_train_steps=6", "callbacks.every.filename=kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        start_here(patch, script, *model, *small, *one, "data.batch_size=16", "hydra.run.dir=whole")
        cached = (*model, *small, "data.batch_size=8", "data.cache=disk")
        start_here(patch, script, *cached, *parts, "trainer.accumulate_grad_batches=2", *kept, "hydra.run.dir=parts")
        done = run_forked(script, *cached, *two, "hydra.run.dir=processes", cwd=where)
        assert done.returncode == 0, done.stderr
    return where


def start_here(monkeypatch: pytest.MonkeyPatch, script: Path, *overrides: str) -> None:
    """Run the script in this process."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", [str(script), *overrides])
    runpy.run_path(str(script))


def test_one_batch_gives_the_same_weights_in_two_processes_or_in_two_parts(of_one_batch: Path) -> None:
    """So is the rate, which follows a schedule."""
    ends = [RunFolder(of_one_batch / name).checkpoints.newest() for name in ("whole", "processes", "parts")]
    for end in ends:
        assert read_checkpoint(end)["global_step"] == 8
        assert largest_difference(ends[0], end) < 1e-5


def test_a_resume_within_an_epoch_of_two_parts_ends_with_the_same_weights(
    of_one_batch: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(of_one_batch)
    run = RunFolder(of_one_batch / "parts")
    whole = shutil.move(run.checkpoints.newest(), tmp_path / "end.ckpt")
    start_here(monkeypatch, of_one_batch / "plain.py", "resume=parts/checkpoints/kept.ckpt")
    assert read_checkpoint(run.checkpoints.newest())["global_step"] == 8
    assert largest_difference(run.checkpoints.newest(), whole) == 0


def test_two_processes_write_one_file_with_the_losses_of_all_photographs(of_one_batch: Path) -> None:
    """The reference is the run in one process, with the same batches: the losses of half of them differ by a fifth."""
    run, whole = (RunFolder(of_one_batch / name) for name in ("processes", "whole"))
    assert [path.name for path in run.path.rglob("*.csv")] == ["metrics.csv"]
    rows = list(csv.DictReader(run.metrics.open()))
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "3"), ("1", "7")]
    assert all(value for row in rows for value in row.values())
    for name in ("train/loss", "val/loss", "val/psnr"):
        assert read_metrics(run)[name] == pytest.approx(read_metrics(whole)[name], rel=1e-4), name


def test_two_processes_show_the_ten_photographs_that_one_does(of_one_batch: Path) -> None:
    here, there = (
        np.asarray(Image.open(of_one_batch / name / "comparison" / "epoch001.png"), dtype=int)
        for name in ("processes", "whole")
    )
    assert np.abs(here - there).max() <= 2  # their colors differ by rounding
