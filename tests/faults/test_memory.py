"""Steps that run out of memory, and long runs that must not leak memory or files."""

import os
import resource
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.command_process import CommandProcess, processes_in_session
from support.fault_injection import limit_memory_during

MIB = 2**20
RUN = (
    "model=cunet", "model.width=8", "data.size=128", "data.val_fraction=0.75", "data.test_fraction=0",
    "data.batch_size=150", "data.workers=0", "trainer=cpu", "trainer.max_epochs=1", "logger=csv", "metrics=[psnr]",
    "callbacks.comparison=null", "callbacks.curves=null", "test=false",
)  # fmt: skip
"""One feature map of a batch takes 26 MB in training and 79 MB in validation."""


def out_of_memory_in(step: str, *words: str, where: Path) -> CommandProcess:
    """Start a run whose first call of this step can allocate at most 20 MiB."""
    place = f"colorlab.models.colorizer:Colorizer.{step}"
    return CommandProcess(*words, cwd=where, before=partial(limit_memory_during, place, 20 * MIB))


@pytest.mark.parametrize("step", ["training_step", pytest.param("validation_step", marks=pytest.mark.faults)])
def test_the_out_of_memory_message_names_a_smaller_batch(tally, tmp_path: Path, step: str) -> None:
    for accumulate in range(1, tally.times(1, 3) + 1):
        run = RunFolder(tmp_path / f"run{accumulate}")
        words = (*RUN, f"trainer.accumulate_grad_batches={accumulate}", f"hydra.run.dir={run.path}")
        with tally.injecting(f"out of memory in a {step.replace('_', ' ')}"):
            training = out_of_memory_in(step, *words, where=tmp_path)
            assert training.wait() == 1, training.output()
            printed = training.output()
            assert "Traceback" not in printed
            assert printed.splitlines()[-1] == (
                f"colorlab: cpu is out of memory at data.batch_size=150: data.batch_size=75"
                f" trainer.accumulate_grad_batches={2 * accumulate} needs about half of it for steps of"
                f" {150 * accumulate}; trainer.scale_batch=true finds the largest batch that fits."
            )
            assert run.status()["error"] == "Stopped"


@pytest.mark.faults
def test_a_sweep_goes_on_after_a_job_runs_out_of_memory(tally, tmp_path: Path) -> None:
    with tally.injecting("out of memory in a job of a sweep"):
        words = ("-m", *RUN, "data.size=128,16", "hydra.sweep.dir=sweep")
        training = out_of_memory_in("training_step", *words, where=tmp_path)
        assert training.wait() == 1, training.output()
        assert "colorlab: 1 of 2 jobs in sweep did not end well:" in training.output()
        runs = [RunFolder(path) for path in sorted((tmp_path / "sweep").glob("[0-9]*"))]
        assert [run.status()["status"] for run in runs] == ["failed", "done"]


# -- leaks -------------------------------------------------------------------------------------------

STEPS = 10_000
LONG = (
    "model=cunet", "model.width=2", "data.size=16", "data.batch_size=1", "data.workers=1", "trainer=cpu",
    f"trainer.max_steps={STEPS}", "trainer.max_epochs=-1", "logger=csv", "test=false", "hydra.run.dir=run",
)  # fmt: skip
"""About 65 epochs, each with validation, checkpoints, comparison and curves."""


def usage(process: int) -> tuple[float, int]:
    """Return the memory in MiB and the number of open files of a process and its children."""
    pages = files = 0
    for each in processes_in_session(process):
        with suppress(OSError):  # the process has just ended
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
            files += len(os.listdir(f"/proc/{each}/fd"))
    return pages * resource.getpagesize() / MIB, files


@pytest.mark.faults
def test_10000_steps_do_not_leak_memory_or_files(tally, tmp_path: Path) -> None:
    with tally.injecting("a training of 10,000 steps, checked for leaks of memory and files"):
        training, run, begun = CommandProcess(*LONG, cwd=tmp_path), RunFolder(tmp_path / "run"), time.monotonic()
        samples = []
        while training.process.is_alive():
            assert time.monotonic() - begun < 3600, training.output()
            samples.append((time.monotonic() - begun, *usage(training.process.pid)))
            time.sleep(0.1)
        assert training.wait() == 0, training.output()
        assert max(read_metrics(run)["val/loss"]) >= 60
        seconds, memory, files = np.array(samples[:-10]).T  # without the end of the run
        draw(seconds, memory, files, tmp_path / "memory.png")
        fifth = len(samples) // 5
        early, late = (
            np.median([memory[part], files[part]], axis=1) for part in (slice(fifth, 2 * fifth), slice(-fifth, None))
        )
        for when, (mib, count) in {"early": early, "late": late}.items():
            print(f"{when}: {mib:.0f} MiB and {count:.0f} open files; see {tmp_path}")
        assert late[0] - early[0] < 20  # 2 KB per step
        assert late[1] - early[1] < 5


def draw(seconds: np.ndarray, memory: np.ndarray, files: np.ndarray, path: Path) -> None:
    """Plot memory and open files over time."""
    figure = matplotlib.figure.Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(seconds, memory)
    above.set(ylabel="memory in MiB", ylim=(0, None), title=f"{STEPS:,} training steps with one data worker")
    below.plot(seconds, files)
    below.set(ylabel="open files", ylim=(0, None), xlabel="seconds")
    figure.savefig(path)
