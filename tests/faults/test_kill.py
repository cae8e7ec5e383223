"""kill -9 at any moment of a run: the resumed run equals an undisturbed one bit for bit."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.command_process import CommandProcess, processes_in_session
from support.fault_injection import at_call, kill_during_checkpoint
from support.runs import RUN, RUN_WITH_PICTURES, resumes_identically, train_undisturbed


def test_a_run_killed_repeatedly_at_random_moments_resumes_identically(tally, tmp_path: Path) -> None:
    times, seed = tally.times(1, 50), random.randrange(2**32)
    print(f"seed {seed}")  # shown by pytest if the test fails
    moments = random.Random(seed)
    kind = RUN if times == 1 else RUN_WITH_PICTURES
    run, words = RunFolder(tmp_path / "run"), [*kind, "trainer.max_epochs=1000"]
    with tally.injecting("kill -9 at random moments, repeatedly on one run", times):
        for _ in range(times):
            training = CommandProcess(*words, cwd=tmp_path)
            while not run.overrides():
                assert training.process.is_alive(), training.output()
                time.sleep(0.01)
            for _ in range(moments.randint(0, 3)):  # counted in checkpoints, which a busy machine does not affect
                wait_for_a_checkpoint(run, training)
            training.process.join(moments.uniform(0, 1))
            assert training.process.is_alive(), training.output()
            training.kill()
            training.wait()
            words = ["resume=run"]
        epochs = max(read_metrics(run).get("val/loss", {0: 0})) + 2
        print(f"killed {times} times in {epochs - 1} epochs")
        end = f"trainer.max_epochs={epochs}"
        assert resumes_identically(train_undisturbed(tmp_path / "undisturbed", end, run=kind), tmp_path, end)


def wait_for_a_checkpoint(run: RunFolder, training: CommandProcess) -> None:
    """Wait until `last.ckpt` is written again."""
    last = run.checkpoints.path / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    while not last.exists() or last.stat().st_mtime_ns == before:
        assert training.process.is_alive(), training.output()
        time.sleep(0.005)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_undisturbed(tmp_path_factory.mktemp("undisturbed"))


MOMENTS = {
    "during a training step": (
        partial(at_call, "lightning.pytorch.core.optimizer:LightningOptimizer.step"), range(1, 13),
    ),
    "during validation": (partial(at_call, "colorlab.models.colorizer:Colorizer.validation_step"), range(1, 10)),
    "between an epoch's checkpoint and its row in metrics.csv": (
        partial(at_call, "lightning.pytorch.trainer.trainer:_LoggerConnector.update_train_epoch_metrics"), range(1, 4),
    ),
    "while a checkpoint is being written": (kill_during_checkpoint, range(1, 10)),
    "before a temporary file is renamed": (partial(at_call, "pathlib:Path.replace"), range(3, 27)),
}  # fmt: skip
"""For each moment: the function that kills, and the calls of a run at which it can. The first two files that are
renamed are written before there is anything to resume."""
QUICK_ONE = "while a checkpoint is being written"


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=[pytest.mark.faults] * (name != QUICK_ONE)) for name in MOMENTS]
)
def test_a_run_killed_at_a_chosen_moment_resumes_identically(
    tally, tmp_path: Path, undisturbed: RunFolder, moment: str
) -> None:
    kill_at, calls = MOMENTS[moment]
    for call in random.sample(calls, tally.times(1, min(len(calls), 5))):
        print(f"call {call}")
        where = tmp_path / str(call)
        where.mkdir()
        with tally.injecting(f"kill -9 {moment}"):
            training = CommandProcess(*RUN, cwd=where, before=partial(kill_at, call))
            assert training.wait() == -signal.SIGKILL, training.output()
            assert resumes_identically(undisturbed, where)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("what", "place", "calls", "words"),
    [
        (
            "the colors are counted",
            "colorlab.data.color_histogram:split_lab",
            10,
            ("objective=rebalanced_classification",),
        ),
        ("the disk cache is built", "colorlab.data.cache:DiskCache.reading", 201, ("data.cache=disk",)),
    ],
    ids=["prior", "cache"],
)
def test_a_run_killed_during_preparation_resumes_identically(
    tally, tmp_path: Path, what: str, place: str, calls: int, words: tuple
) -> None:
    undisturbed = train_undisturbed(tmp_path / "undisturbed", *words)
    for call in random.sample(range(1, calls + 1), tally.times(1, 5)):
        print(f"call {call}")
        where = tmp_path / str(call)
        where.mkdir()
        with tally.injecting(f"kill -9 while {what}"):
            training = CommandProcess(*RUN, *words, cwd=where, before=partial(at_call, place, call))
            assert training.wait() == -signal.SIGKILL, training.output()
            assert resumes_identically(undisturbed, where)
            assert not list((where / "cache").rglob("*.part"))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[CommandProcess]:
    """Start a run of 1000 epochs and wait for its first checkpoint."""
    training = CommandProcess(*RUN, "data.workers=2", "trainer.max_epochs=1000", cwd=tmp_path)
    wait_for_a_checkpoint(RunFolder(tmp_path / "run"), training)
    yield training
    training.kill()


def test_a_second_run_in_the_folder_of_a_running_one_is_refused(tally, tmp_path: Path, running: CommandProcess) -> None:
    run = RunFolder(tmp_path / "run")
    before = run.config.read_bytes(), run.status()
    for words in (RUN, ("resume=run",)):
        with tally.injecting("a second run is started in the folder of a running one"):
            second = CommandProcess(*words, cwd=tmp_path, stdout="second")
            assert second.wait() == 2, second.output()
            (said,) = second.output().splitlines()
            assert said.startswith(f"colorlab: Another process (process {running.process.pid} on ")
            assert (run.config.read_bytes(), run.status()) == before
            assert running.process.is_alive()


def test_data_workers_end_with_the_main_process(tally, tmp_path: Path, running: CommandProcess) -> None:
    """A worker that is still alive does not keep the folder locked."""
    with tally.injecting("kill -9 of the main process, with its data workers still running"):
        assert len(processes_in_session(running.process.pid)) >= 3
        os.kill(running.process.pid, signal.SIGKILL)
        running.wait()
        again = CommandProcess("resume=run", cwd=tmp_path)
        wait_for_a_checkpoint(RunFolder(tmp_path / "run"), again)
        deadline = time.monotonic() + 120
        while processes_in_session(running.process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        again.kill()


def test_a_read_only_run_folder_is_refused_with_one_sentence(tally, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs to mount a disk")
    try:
        (disk / "run").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for name in ("run", "new"):
            with tally.injecting("the run's folder is read-only"):
                training = CommandProcess(*RUN[:-1], f"hydra.run.dir={disk / name}", cwd=tmp_path)
                assert training.wait() == 2, training.output()
                (said,) = training.output().splitlines()
                assert said.startswith(f"colorlab: {disk / name}")
                assert said.endswith(" cannot be written (Read-only file system): take another folder.")
    finally:
        subprocess.run(["umount", disk], check=True)
