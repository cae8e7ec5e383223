"""Launchers, which run the jobs of a sweep in several processes. `make clusters` runs the marked tests."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.sweeps.report import statuses
from support.commands import SMALL, Command, start_command, train_exit_code
from support.slurm import missing_requirement, one_node_slurm

QUICK = (*SMALL, "model.width=2", "trainer.limit_train_batches=2", "trainer.max_epochs=1")

# -- missing packages and clusters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("launcher", "package"), [("joblib", "joblib"), ("submitit_slurm", "submitit")])
def test_a_missing_launcher_is_answered_with_the_package_to_install(
    launcher: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Plugins.instance()  # registers the installed launchers
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{launcher}.yaml")
    assert train_exit_code(monkeypatch, "-m", *QUICK, f"hydra/launcher={launcher}", "seed=1,2") == 2
    message = f"colorlab: hydra/launcher={launcher} is not installed: pip install hydra-{package}-launcher.\n"
    assert capsys.readouterr().err == message


def test_missing_ray_is_answered_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert train_exit_code(monkeypatch, "-m", *QUICK, "hydra/launcher=ray", "seed=1,2") == 2
    assert capsys.readouterr().err == "colorlab: hydra/launcher=ray needs Ray: pip install ray.\n"


def test_without_a_slurm_cluster_launcher_and_trainer_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert train_exit_code(monkeypatch, "-m", *QUICK, "hydra/launcher=submitit_slurm", "seed=1,2") == 2
    assert "needs a SLURM cluster, and there is no srun here" in capsys.readouterr().err
    assert train_exit_code(monkeypatch, *QUICK, "trainer=slurm") == 2
    assert "trainer=slurm is for the processes that SLURM starts: srun python -m" in capsys.readouterr().err


# -- several processes on this machine ---------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_jobs_in_own_processes_give_the_results_of_jobs_in_one_process(
    launcher: str, train: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A mistake in one job is reported at the end, too."""
    done = train("-m", *QUICK, "optim.lr=1e-2,abc,1e-3", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == "  1_lr-abc: optim.lr=abc must be a number."
    assert [status["status"] for status in statuses(tmp_path / "sweep").values()] == ["done", "failed", "done"]
    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, *QUICK, "optim.lr=1e-3", "hydra.run.dir=alone") == 0
    losses = [read_metrics(RunFolder(tmp_path / name))["val/loss"] for name in ("sweep/2_lr0.001", "alone")]
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.cluster
def test_a_search_launches_several_jobs_at_once(train: Command, tmp_path: Path) -> None:
    search = ("sweep=optuna", "sweep.trials=3", "sweep.at_once=2", "objective=mse", "hydra.sweep.dir=search")
    done = train(*QUICK, *search, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    assert [status["status"] for status in statuses(tmp_path / "search").values()] == ["done"] * 3
    assert "search: 3 runs finished" in done.stdout


# -- SLURM -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _slurm() -> Iterator[None]:
    """Run a cluster for the tests of this file, or skip them."""
    if reason := missing_requirement():
        pytest.skip(reason)
    with one_node_slurm():
        yield


def srun(tmp_path: Path, *words: str, tasks: int = 1) -> subprocess.CompletedProcess:
    """Run `srun python -m colorlab.train` to its end."""
    command = ["srun", f"--ntasks={tasks}", f"--ntasks-per-node={tasks}", sys.executable, "-m", "colorlab.train"]
    slurm_words = ("trainer=slurm", "trainer.accelerator=cpu")
    return subprocess.run([*command, *words, *slurm_words], cwd=tmp_path, text=True, capture_output=True, timeout=300)


@pytest.mark.usefixtures("_slurm")
@pytest.mark.cluster
def test_slurm_runs_the_jobs_of_a_sweep(train: Command, tmp_path: Path) -> None:
    launcher = ("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=10", "hydra.launcher.cpus_per_task=1")
    done = train("-m", *QUICK, "optim.lr=1e-2,1e-3", *launcher, "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert [status["status"] for status in statuses(tmp_path / "sweep").values()] == ["done", "done"]


@pytest.mark.usefixtures("_slurm")
@pytest.mark.cluster
def test_slurm_starts_the_processes_of_each_job_of_a_sweep(train: Command, tmp_path: Path) -> None:
    """The alternative that the message for a sweep of local DDP names: see tests/sweeps/test_report.py."""
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "seed=1,2", "hydra.sweep.dir=sweep")
    launcher = ("hydra.launcher.tasks_per_node=2", "hydra.launcher.timeout_min=10", "hydra.launcher.cpus_per_task=1")
    done = train("-m", *QUICK, *ddp, "hydra/launcher=submitit_slurm", *launcher)
    assert done.returncode == 0, done.stderr
    for name in ("0_seed1", "1_seed2"):
        run = RunFolder(tmp_path / "sweep" / name)
        assert run.status()["status"] == "done"
        assert torch.load(run.checkpoints.newest(), weights_only=True)["global_step"] == 2
    assert "MEMBER: 2/2" in "".join(path.read_text() for path in tmp_path.glob("sweep/.submitit/*/*_log.*"))


@pytest.mark.usefixtures("_slurm")
@pytest.mark.cluster
def test_slurm_trains_one_model_in_two_processes(tmp_path: Path) -> None:
    done = srun(tmp_path, *QUICK, tasks=2)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "slurm").iterdir()
    run = RunFolder(folder)
    assert torch.load(run.checkpoints.newest(), weights_only=True)["global_step"] == 2
    assert run.status()["status"] == "done"
    assert "MEMBER: 2/2" in done.stdout + done.stderr


@pytest.mark.usefixtures("_slurm")
@pytest.mark.cluster
def test_a_preempted_slurm_job_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    words = (*SMALL, "model.width=2", "trainer.limit_train_batches=10", "trainer.max_epochs=4")
    command = [sys.executable, "-m", "colorlab.train", *words, "trainer=slurm", "trainer.accelerator=cpu"]
    (tmp_path / "job.sh").write_text(f"#!/bin/bash\nsrun {' '.join(command)}\n")
    options = ("--parsable", "--requeue", "--ntasks-per-node=1", "--open-mode=append", "--output=out.txt")
    sent = subprocess.run(["sbatch", *options, "job.sh"], cwd=tmp_path, text=True, capture_output=True, check=True)
    job = sent.stdout.strip()
    run = RunFolder(tmp_path / "runs" / "slurm" / f"{job}.0_cunet")
    wait_for(lambda: len(read_metrics(run).get("val/loss", {})) >= 1)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    wait_for(lambda: run.status()["status"] == "interrupted")
    assert run.status()["reason"] == "SLURM took the machine; saved and queued again"
    reached = torch.load(run.checkpoints.newest(), weights_only=True)["global_step"]
    assert 10 <= reached < 40
    wait_for(lambda: run.status()["status"] == "done")
    done = srun(tmp_path, *words, "hydra.run.dir=uninterrupted")
    assert done.returncode == 0, done.stderr
    uninterrupted = RunFolder(tmp_path / "uninterrupted")
    one, other = (torch.load(each.checkpoints.newest(), weights_only=True) for each in (run, uninterrupted))
    assert one["global_step"] == other["global_step"] == 40
    assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
    assert read_metrics(run)["val/loss"] == read_metrics(uninterrupted)["val/loss"]


@pytest.mark.usefixtures("_slurm")
@pytest.mark.cluster
def test_a_preempted_job_of_a_sweep_continues(tmp_path: Path) -> None:
    launcher = ("hydra/launcher=submitit_slurm", "hydra.launcher.max_num_timeout=2", "hydra.launcher.timeout_min=10")
    longer = ("trainer.limit_train_batches=10", "trainer.max_epochs=6")
    words = ("model.width=2", *longer, "seed=1", "hydra.sweep.dir=sweep")
    process = start_command("train", "-m", *SMALL, *words, *launcher, "hydra.sweep.subdir=job", cwd=tmp_path)
    run = RunFolder(tmp_path / "sweep" / "job")
    wait_for(lambda: len(read_metrics(run).get("val/loss", {})) >= 1)
    jobs = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], text=True, capture_output=True, check=True)
    subprocess.run(["scancel", "--signal=USR2", *jobs.stdout.split()], check=True)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert sorted(read_metrics(run)["val/loss"]) == [0, 1, 2, 3, 4, 5]
    assert len(run.origin()["resumed"]) == 1


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
