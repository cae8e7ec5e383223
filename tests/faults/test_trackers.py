"""Trackers that are unreachable or fail during training: the run reports it and goes on without them."""

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.command_process import CommandProcess
from support.fault_injection import at_call, kill_children_named, replace_folder_by_file
from support.mlflow_server import mlflow_server
from support.runs import RUN_WITH_PICTURES
from support.wandb_server import WandbServer, logged_in, logged_out, serve_wandb

SHORT = (
    "model.width=2", "metrics=[psnr]", "trainer.max_epochs=2", "trainer.limit_train_batches=3",
    "callbacks.comparison.count=1", "callbacks.curves=null",
)  # fmt: skip
IMPATIENT = {
    "WANDB_FINISH_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}  # fmt: skip
UNANSWERED = {"WANDB_INIT_TIMEOUT": "4"}
STEP = "lightning.pytorch.core.optimizer:LightningOptimizer.step"
MIDWAY = 5
"""The step at which the tracker fails: in the second epoch, after the first was logged."""


def train_with_tracker(
    where: Path, *words: str, fault: Callable[[], None] | None = None, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Train, assert that the run itself lost nothing, and return the lines that the run printed about its tracker."""
    before = fault and partial(at_call, STEP, MIDWAY, do=fault)
    environment = {**environment, **IMPATIENT}
    training = CommandProcess(*RUN_WITH_PICTURES, *SHORT, *words, cwd=where, before=before, env=environment)
    code, printed, run = training.wait(), training.output(), RunFolder(where / "run")
    assert code == 0, printed
    assert "Traceback" not in printed, printed
    metrics = read_metrics(run)
    assert list(metrics["train/loss"]) == list(metrics["val/loss"]) == [0, 1]
    names = {path.name.partition("_loss")[0] for path in run.checkpoints.path.glob("*.ckpt")}
    assert names == {"cunet_epoch000", "cunet_epoch001", "last.ckpt"}
    assert run.status()["status"] == "done"
    return [
        line for line in printed.splitlines() if line.startswith(("wandb", "upload to wandb", "tensorboard", "mlflow"))
    ]


def sync_uploads_run(line: str, server: WandbServer, home: Path) -> bool:
    """Run the printed command `wandb sync FOLDER` and return whether the server then has the run."""
    _, _, folder = line.partition("wandb sync ")
    wandb = Path(sys.executable).with_name("wandb")
    subprocess.run(
        f"{wandb} sync {folder}",
        shell=True, check=True, cwd=home, env=server.environment(home), timeout=120,
    )  # fmt: skip
    return [run["name"] for run in server.runs][:1] == [(home / "run" / "wandb_id").read_text()]


# -- wandb -------------------------------------------------------------------------------------------


@pytest.fixture
def wandb_process() -> Iterator[tuple[str, int]]:
    """Run a wandb server in another process; return its address and process ID."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=serve_wandb, args=(sender,))
    process.start()
    yield receiver.recv(), process.pid
    process.kill()
    process.join()


def test_without_a_wandb_login_the_run_is_logged_offline(tally, tmp_path: Path) -> None:
    with tally.injecting("no wandb login"):
        printed = train_with_tracker(tmp_path, "logger=wandb", environment=logged_out(tmp_path))
        assert printed == ["upload to wandb: wandb sync run/wandb/offline-run-*"]


@pytest.mark.faults
def test_wandb_that_refuses_connections_is_reported(tally, tmp_path: Path, wandb_server: WandbServer) -> None:
    with tally.injecting("wandb's server refuses connections"):
        printed = train_with_tracker(
            tmp_path, "logger=wandb", environment=logged_in(tmp_path, "http://127.0.0.1:9") | UNANSWERED
        )
        assert len(printed) == 2
        assert printed[0].startswith("wandb cannot be reached (")
        assert sync_uploads_run(printed[1], wandb_server, tmp_path)


@pytest.mark.faults
def test_wandb_that_never_answers_is_reported(tally, tmp_path: Path, wandb_server: WandbServer) -> None:
    with (
        tally.injecting("wandb's server accepts connections and never answers"),
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        printed = train_with_tracker(tmp_path, "logger=wandb", environment=logged_in(tmp_path, address) | UNANSWERED)
        assert len(printed) == 2
        assert printed[0].startswith("wandb cannot be reached (")
        assert sync_uploads_run(printed[1], wandb_server, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "happens"), [(signal.SIGKILL, "dies"), (signal.SIGSTOP, "stops answering")])
def test_wandb_that_fails_during_training_is_reported(
    tally, tmp_path: Path, wandb_process: tuple[str, int], wandb_server: WandbServer, number: int, happens: str
) -> None:
    address, process = wandb_process
    with tally.injecting(f"wandb's server {happens} during training"):
        fault, environment = partial(os.kill, process, number), logged_in(tmp_path, address)
        printed = train_with_tracker(tmp_path, "logger=wandb", fault=fault, environment=environment)
        assert len(printed) == 1
        assert printed[0].startswith("wandb did not upload all of this run in time; upload the rest with: wandb sync ")
        assert sync_uploads_run(printed[0], wandb_server, tmp_path)


def test_killed_background_process_of_wandb_is_reported(tally, tmp_path: Path, wandb_process: tuple[str, int]) -> None:
    address, _ = wandb_process
    with tally.injecting("kill -9 of wandb's background process"):
        fault, environment = partial(kill_children_named, "wandb-core"), logged_in(tmp_path, address)
        printed = train_with_tracker(tmp_path, "logger=wandb", fault=fault, environment=environment)
        assert len(printed) == 2
        assert printed[0].startswith("wandb is lost (")
        assert printed[1].startswith("wandb lost a part of this run (")


# -- tensorboard and mlflow --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destroy", "happens"),
    [(shutil.rmtree, "is removed"), pytest.param(replace_folder_by_file, "becomes a file", marks=pytest.mark.faults)],
)
def test_lost_tensorboard_folder_is_reported(tally, tmp_path: Path, destroy: Callable, happens: str) -> None:
    with tally.injecting(f"tensorboard's folder {happens} during training"):
        printed = train_with_tracker(tmp_path, "logger=tensorboard", fault=partial(destroy, "run/tensorboard"))
        assert len(printed) == 1
        assert printed[0].startswith("tensorboard is lost (")


@pytest.mark.faults
@pytest.mark.parametrize(("number", "happens"), [(signal.SIGKILL, "dies"), (signal.SIGSTOP, "stops answering")])
def test_mlflow_that_fails_during_training_is_reported(tally, tmp_path: Path, number: int, happens: str) -> None:
    with mlflow_server(tmp_path) as (address, group), tally.injecting(f"mlflow's server {happens} during training"):
        fault = partial(os.killpg, group, number)
        printed = train_with_tracker(tmp_path, "logger=mlflow", f"logger.mlflow.uri={address}", fault=fault)
        assert len(printed) == 1
        assert printed[0].startswith("mlflow is lost (")
