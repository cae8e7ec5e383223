"""Sweeps over a grid: their folders, and the report of failed jobs."""

import gc
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from colorlab.models import Colorizer
from colorlab.process.new_folders import make_folder
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.sweeps.report import Sweep
from support.commands import SMALL, Command, train_exit_code


def models_in_memory() -> int:
    return sum(issubclass(type(thing), Colorizer) for thing in gc.get_objects())


def test_a_sweep_keeps_each_job_in_a_folder_named_by_its_overrides(train: Command, tmp_path: Path) -> None:
    """Each job also has its own run at the tracker, all in one group."""
    small = [word for word in SMALL if word != "logger=csv"]
    small += ["debug=true", "logger=wandb"]
    done = train("-m", *small, "optim.lr=1e-3,1e-4", "hydra.sweep.dir=runs/rates")
    assert done.returncode == 0, done.stderr
    assert "did not end well" not in done.stderr
    runs = [RunFolder(tmp_path / "runs" / "rates" / name) for name in ("0_lr0.001", "1_lr0.0001")]
    for run, lr in zip(runs, (1e-3, 1e-4), strict=True):
        assert read_metrics(run)["optim/lr"] == {0: pytest.approx(lr)}
        assert run.status()["status"] == "done"
        assert run.status()["command"].endswith(f" logger=wandb optim.lr={lr}")
        assert f"best checkpoint: runs/rates/{run.path.name}/checkpoints/cunet_epoch000_loss" in done.stdout
        assert len(list((run.path / "wandb").glob(f"offline-run-*-{run.wandb_id.read_text()}"))) == 1
        tracker = OmegaConf.load(run.config).logger.wandb
        assert (tracker.group, tracker.name) == ("rates", None), "it is named after its folder"
    assert runs[0].wandb_id.read_text() != runs[1].wandb_id.read_text()


def test_failed_jobs_are_reported_at_the_end_and_the_other_jobs_finish(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """One job has a mistake, one raises in a library; equal jobs get equal weights, and no model stays in memory."""
    monkeypatch.chdir(tmp_path)
    gc.collect()
    before = models_in_memory()
    jobs = (
        "optim.lr=1e-2,abc,1e-2",
        "callbacks.best.monitor=val/loss,train/los",
        "debug=true",
    )
    assert train_exit_code(monkeypatch, "-m", *SMALL, *jobs, "hydra.sweep.dir=sweep") == 1
    assert models_in_memory() == before
    names = [f"{2 * i + j}_lr{lr}_monitor-{monitor}" for i, lr in enumerate(("0.01", "-abc", "0.01"))
             for j, monitor in enumerate(("valloss", "trainlos"))]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == sorted(names)
    head, *lines = capsys.readouterr().err.split("colorlab: ")[-1].strip().splitlines()
    assert head == "4 of 6 jobs in sweep did not end well:"
    assert lines[0].startswith(f"  {names[1]}, {names[5]}: MisconfigurationException: ")
    assert lines[1] == f"  {names[2]}, {names[3]}: optim.lr=abc must be a number."
    first, broken, mistake, _, last, _ = (RunFolder(tmp_path / "sweep" / name) for name in names)
    assert [run.status()["status"] for run in (first, broken, mistake, last)] == ["done", "failed", "failed", "done"]
    assert not mistake.config.exists()
    one, other = (torch.load(run.checkpoints.newest(), weights_only=True)["state_dict"] for run in (first, last))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert read_metrics(first)["val/loss"] == read_metrics(last)["val/loss"]
    for checkpoint in (tmp_path / "sweep").glob("*/checkpoints/*.ckpt"):
        checkpoint.unlink()  # without checkpoints it still counts as a sweep
    assert train_exit_code(monkeypatch, "-m", *SMALL, *jobs, "hydra.sweep.dir=sweep") == 2
    assert (
        "colorlab: sweep holds a sweep already: continue a run of it with resume=sweep/RUN" in capsys.readouterr().err
    )


def test_a_sweep_in_which_all_failures_are_mistakes_exits_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """The mistake here: each job would start the sweep again in further processes."""
    monkeypatch.chdir(tmp_path)
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "seed=1,2", "hydra.sweep.dir=sweep")
    assert train_exit_code(monkeypatch, "-m", *SMALL, *ddp) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    last = error.strip().splitlines()[-1]
    assert last.startswith("  0_seed1, 1_seed2: trainer.strategy=ddp with 2 devices starts the whole command again")
    assert last.endswith("hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=2.")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_sweep_is_removed_only_if_nothing_was_trained_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs that cannot be read are a mistake that comes to light late."""
    monkeypatch.setattr("colorlab.process.new_folders._made", {})
    for trained in (True, False):
        sweep = Sweep()
        sweep.folder, sweep.earlier = make_folder(tmp_path / "sweep"), {}
        job = RunFolder(sweep.folder / "0_cunet")
        job.path.mkdir()
        job.write_status({"status": "failed", "error": "UserError", "reason": "no", "started": "now"})
        if trained:
            job.metrics.touch()
        with pytest.raises(SystemExit, match="2"):
            sweep.on_multirun_end(OmegaConf.create())
        assert sweep.folder.exists() is trained
        shutil.rmtree(sweep.folder, ignore_errors=True)


def test_a_job_whose_status_is_torn_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sweep = Sweep()
    sweep.folder, sweep.earlier = tmp_path, {}
    for name, content in (
        ("0_torn", '{"status": "do'), ("1_half", '{"pid": 3}'), ("2_done", '{"status": "done", "started": "now"}')
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text(content)
    assert sweep.report() == 1
    said = capsys.readouterr().err
    assert f"2 of 3 jobs in {tmp_path} did not end well" in said
    assert "0_torn: " in said
    assert "1_half: its status.json is not complete" in said
