"""A tracker that is not there, or no more: a training goes on without it, and says so."""

import multiprocessing
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from forked import RUN, Training
from moments import at_call, child_killed
from wandb_server import logged_in, logged_out, serve

from colorlab.loggers import read_metrics
from colorlab.run_folder import RunFolder

SHORT = (
    "model.width=2", "metrics=[psnr]", "trainer.max_epochs=2", "trainer.limit_train_batches=3",
    "callbacks.comparison.count=1", "callbacks.curves=null",
)  # fmt: skip
IMPATIENT = {"WANDB_INIT_TIMEOUT": "4", "WANDB_FINISH_TIMEOUT": "4"}
STEP = "lightning.pytorch.core.optimizer:LightningOptimizer.step"
MIDWAY = 5
"""The step, in the second epoch, at which something happens."""


class Server(NamedTuple):
    """Of wandb, in a process of its own."""

    address: str
    process: int


@pytest.fixture
def server() -> Iterator[Server]:
    context = multiprocessing.get_context("forkserver")
    hears, tells = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(tells,))
    process.start()
    yield Server(hears.recv(), process.pid)
    process.kill()
    process.join()


def said(where: Path, *words: str, surroundings: dict[str, str], midway: Callable[[], None] | None = None) -> str:
    """What a training prints that has lost its tracker, and nothing else."""
    rehearse = midway and partial(at_call, STEP, MIDWAY, do=midway)
    training = Training(*RUN, *SHORT, *words, where=where, rehearse=rehearse, surroundings=surroundings | IMPATIENT)
    code, printed, run = training.end(within=60), training.printed.read_text(), RunFolder(where / "run")
    print(*(line for line in printed.splitlines() if line[:1] not in "├│└ "), sep="\n")
    assert code == 0
    assert "Traceback" not in printed
    assert sorted(read_metrics(run)["val/loss"]) == sorted(read_metrics(run)["train/loss"]) == [0, 1]
    assert {path.name.partition("_")[0] for path in run.checkpoints.glob("*.ckpt")} == {"cunet", "last.ckpt"}
    assert run.status()["status"] == "done"
    return printed


def test_no_wandb_at_the_address(tally, tmp_path: Path) -> None:
    with tally.injecting("wandb's address refuses connections"):
        printed = said(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, "http://127.0.0.1:9"))


def test_a_wandb_that_never_answers(tally, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, tally.injecting("wandb accepts connections and never answers"):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        printed = said(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, address))


def test_nobody_is_logged_in(tally, tmp_path: Path) -> None:
    with tally.injecting("nobody is logged in to wandb"):
        printed = said(tmp_path, "logger=wandb", surroundings=logged_out(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_wandb_server_that_ends(tally, tmp_path: Path, server: Server, number) -> None:
    with tally.injecting("wandb's server is killed midway"):
        printed = said(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, server.address), midway=partial(os.kill, server.process, number))


def test_wandbs_own_process_is_killed(tally, tmp_path: Path, server: Server) -> None:
    with tally.injecting("wandb's own process is killed midway"):
        printed = said(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, server.address), midway=partial(child_killed, "wandb-core"))


def test_wandb_as_it_should_be(tally, tmp_path: Path, server: Server) -> None:
    printed = said(tmp_path, "logger=wandb", surroundings=logged_in(tmp_path, server.address))


def test_tensorboards_folder_is_removed(tally, tmp_path: Path) -> None:
    with tally.injecting("tensorboard's folder is removed midway"):
        printed = said(tmp_path, "logger=tensorboard", surroundings=dict(os.environ), midway=partial(shutil.rmtree, "run/tensorboard"))
