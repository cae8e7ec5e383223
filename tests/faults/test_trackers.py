"""A tracker that is not there, or no longer: a training says so and goes on without it."""

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
from support.runs import RUN
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
"""The step at which something happens: in the second epoch, when the tracker has the first."""


def trained(
    where: Path, *words: str, midway: Callable[[], None] | None = None, surroundings: Mapping[str, str] = os.environ
) -> list[str]:
    """What a training says of its tracker, which must have lost nothing of its own."""
    rehearse = midway and partial(at_call, STEP, MIDWAY, do=midway)
    surroundings = {**surroundings, **IMPATIENT}
    training = CommandProcess(*RUN, *SHORT, *words, cwd=where, before=rehearse, env=surroundings)
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


def synced(told: str, server: WandbServer, home: Path) -> bool:
    """Whether wandb gets the run by the command that the training told, `wandb sync FOLDER`."""
    _, _, folder = told.partition("wandb sync ")
    wandb = Path(sys.executable).with_name("wandb")
    subprocess.run(
        f"{wandb} sync {folder.removesuffix(' sends it.')}",
        shell=True, check=True, cwd=home, env=server.environment(home), timeout=120,
    )  # fmt: skip
    return [run["name"] for run in server.runs][:1] == [(home / "run" / "wandb_id").read_text()]


# -- wandb -------------------------------------------------------------------------------------------


@pytest.fixture
def mortal() -> Iterator[tuple[str, int]]:
    """A wandb server in a process of its own: its address, and the process."""
    context = multiprocessing.get_context("forkserver")
    hears, tells = context.Pipe(duplex=False)
    process = context.Process(target=serve_wandb, args=(tells,))
    process.start()
    yield hears.recv(), process.pid
    process.kill()
    process.join()


def test_nobody_is_logged_in_to_wandb(tally, tmp_path: Path) -> None:
    with tally.injecting("no wandb login"):
        said = trained(tmp_path, "logger=wandb", surroundings=logged_out(tmp_path))
        assert said == ["upload to wandb: wandb sync run/wandb/offline-run-*"]


@pytest.mark.faults
def test_wandb_refuses_connections(tally, tmp_path: Path, wandb_server: WandbServer) -> None:
    with tally.injecting("wandb's server refuses connections"):
        said = trained(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, "http://127.0.0.1:9") | UNANSWERED)
        assert len(said) == 2
        assert said[0].startswith("wandb cannot be reached (")
        assert synced(said[1], wandb_server, tmp_path)


@pytest.mark.faults
def test_wandb_never_answers(tally, tmp_path: Path, wandb_server: WandbServer) -> None:
    with (
        tally.injecting("wandb's server accepts connections and never answers"),
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = trained(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, address) | UNANSWERED)
        assert len(said) == 2
        assert said[0].startswith("wandb cannot be reached (")
        assert synced(said[1], wandb_server, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "happens"), [(signal.SIGKILL, "dies"), (signal.SIGSTOP, "stops answering")])
def test_wandb_is_gone_midway(
    tally, tmp_path: Path, mortal: tuple[str, int], wandb_server: WandbServer, number: int, happens: str
) -> None:
    address, process = mortal
    with tally.injecting(f"wandb's server {happens} during training"):
        gone, surroundings = partial(os.kill, process, number), logged_in(tmp_path, address)
        said = trained(tmp_path, "logger=wandb", midway=gone, surroundings=surroundings)
        assert len(said) == 1
        assert said[0].startswith("wandb did not take all of this run in time: wandb sync ")
        assert synced(said[0], wandb_server, tmp_path)


def test_wandbs_own_process_is_killed(tally, tmp_path: Path, mortal: tuple[str, int]) -> None:
    address, _ = mortal
    with tally.injecting("kill -9 of wandb's background process"):
        gone, surroundings = partial(kill_children_named, "wandb-core"), logged_in(tmp_path, address)
        said = trained(tmp_path, "logger=wandb", midway=gone, surroundings=surroundings)
        assert len(said) == 2
        assert said[0].startswith("wandb is lost (")
        assert said[1].startswith("wandb did not get all of this run (")


# -- tensorboard and mlflow --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "happens"),
    [(shutil.rmtree, "is removed"), pytest.param(replace_folder_by_file, "becomes a file", marks=pytest.mark.faults)],
)
def test_tensorboards_folder_is_gone_midway(tally, tmp_path: Path, gone: Callable, happens: str) -> None:
    with tally.injecting(f"tensorboard's folder {happens} during training"):
        said = trained(tmp_path, "logger=tensorboard", midway=partial(gone, "run/tensorboard"))
        assert len(said) == 1
        assert said[0].startswith("tensorboard is lost (")


@pytest.mark.faults
@pytest.mark.parametrize(("number", "happens"), [(signal.SIGKILL, "dies"), (signal.SIGSTOP, "stops answering")])
def test_mlflow_is_gone_midway(tally, tmp_path: Path, number: int, happens: str) -> None:
    with mlflow_server(tmp_path) as (address, group), tally.injecting(f"mlflow's server {happens} during training"):
        gone = partial(os.killpg, group, number)
        said = trained(tmp_path, "logger=mlflow", f"logger.mlflow.uri={address}", midway=gone)
        assert len(said) == 1
        assert said[0].startswith("mlflow is lost (")
