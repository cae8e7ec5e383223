"""Training in two processes: if one is killed or interrupted, the other ends too."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from colorlab.runs.folder import RunFolder
from support.command_process import processes_in_session
from support.commands import start_command
from support.runs import RUN, same_run

pytestmark = pytest.mark.faults
TWO = (*RUN, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    where = tmp_path_factory.mktemp("undisturbed")
    assert_ends(start_command("train", *TWO, cwd=where), 0)
    return RunFolder(where / "run")


def assert_ends(process: subprocess.Popen, code: int) -> str:
    """Assert that the command ends with this code, and return its standard error."""
    _, error = process.communicate(timeout=300)
    assert process.returncode == code, error
    return error


def assert_all_end(process: subprocess.Popen) -> None:
    """Wait until no process of the session is left."""
    deadline = time.monotonic() + 120
    while processes_in_session(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Start two processes and wait for their first checkpoint."""
    process = start_command("train", *TWO, cwd=tmp_path)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("rank", [0, 1])
def test_kill_of_one_process_ends_both_and_the_run_resumes_identically(
    tally, tmp_path: Path, undisturbed: RunFolder, training: subprocess.Popen, rank: int
) -> None:
    with tally.injecting(f"kill -9 of process {rank} of two"):
        others = processes_in_session(training.pid) - {training.pid}
        victims = [one for one in others if f"LOCAL_RANK={rank}" in environment(one)] if rank else [training.pid]
        os.kill(victims[0], signal.SIGKILL)
        training.communicate(timeout=300)
        assert_all_end(training)
        assert_ends(start_command("train", "resume=run", cwd=tmp_path), 0)
        assert same_run(RunFolder(tmp_path / "run"), undisturbed)


def environment(process: int) -> list[str]:
    return Path(f"/proc/{process}/environ").read_text().split("\0")


@pytest.mark.parametrize("receivers", ["the first", "both"])
def test_sigterm_ends_both_processes_and_the_run_resumes_identically(
    tally, tmp_path: Path, undisturbed: RunFolder, training: subprocess.Popen, receivers: str
) -> None:
    with tally.injecting(f"SIGTERM to {receivers} of two processes"):
        if receivers == "both":
            os.killpg(training.pid, signal.SIGTERM)
        else:
            training.send_signal(signal.SIGTERM)
        error = assert_ends(training, 143)
        assert "Traceback" not in error, error
        assert [line for line in error.splitlines() if line.startswith("colorlab: ")] == [
            "colorlab: SIGTERM: stops after this step, or validation, and saves; once more leaves at once.",
            "colorlab: SIGTERM: resume=run continues it.",
        ]
        assert_all_end(training)
        assert_ends(start_command("train", "resume=run", cwd=tmp_path), 0)
        assert same_run(RunFolder(tmp_path / "run"), undisturbed)
