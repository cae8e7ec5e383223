"""Memory that a step has not enough of, and memory and files that a long training must give back."""

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
"""Each map of a batch takes 26 MB in training, and 79 in validation."""


def out_of_memory_in(step: str, *words: str, where: Path) -> CommandProcess:
    """A training whose first such step has hardly any memory left to take."""
    place = f"colorlab.models.colorizer:Colorizer.{step}"
    return CommandProcess(*words, cwd=where, before=partial(limit_memory_during, place, 20 * MIB))


@pytest.mark.parametrize("step", ["training_step", pytest.param("validation_step", marks=pytest.mark.faults)])
def test_out_of_memory_says_what_to_lower_and_by_how_much(tally, tmp_path: Path, step: str) -> None:
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
def test_the_other_jobs_of_a_sweep_go_on_when_one_is_out_of_memory(tally, tmp_path: Path) -> None:
    with tally.injecting("out of memory in a job of a sweep"):
        words = ("-m", *RUN, "data.size=128,16", "hydra.sweep.dir=sweep")
        training = out_of_memory_in("training_step", *words, where=tmp_path)
        assert training.wait() == 1, training.output()
        assert "colorlab: 1 of 2 jobs in sweep did not end well:" in training.output()
        runs = [RunFolder(path) for path in sorted((tmp_path / "sweep").glob("[0-9]*"))]
        assert [run.status()["status"] for run in runs] == ["failed", "done"]


# -- what a long training takes ----------------------------------------------------------------------

STEPS = 10_000
LONG = (
    "model=cunet", "model.width=2", "data.size=16", "data.batch_size=1", "data.workers=1", "trainer=cpu",
    f"trainer.max_steps={STEPS}", "trainer.max_epochs=-1", "logger=csv", "test=false", "hydra.run.dir=run",
)  # fmt: skip
"""Some 65 epochs, each with its validation, checkpoints, comparison picture and curves."""


def taken(process: int) -> tuple[float, int]:
    """The MiB in memory and the open files of a process and those that it started."""
    pages = files = 0
    for each in processes_in_session(process):
        with suppress(OSError):  # it has ended since
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
            files += len(os.listdir(f"/proc/{each}/fd"))
    return pages * resource.getpagesize() / MIB, files


@pytest.mark.faults
def test_ten_thousand_steps_leak_neither_memory_nor_files(tally, tmp_path: Path) -> None:
    with tally.injecting("a training of 10,000 steps, checked for leaks of memory and files"):
        training, run, begun = CommandProcess(*LONG, cwd=tmp_path), RunFolder(tmp_path / "run"), time.monotonic()
        course = []
        while training.process.is_alive():
            assert time.monotonic() - begun < 3600, training.output()
            course.append((time.monotonic() - begun, *taken(training.process.pid)))
            time.sleep(0.1)
        assert training.wait() == 0, training.output()
        assert max(read_metrics(run)["val/loss"]) >= 60
        seconds, memory, files = np.array(course[:-10]).T  # without its end
        draw(seconds, memory, files, tmp_path / "memory.png")
        fifth = len(course) // 5
        early, late = (
            np.median([memory[part], files[part]], axis=1) for part in (slice(fifth, 2 * fifth), slice(-fifth, None))
        )
        print(
            f"{early[0]:.0f} MiB and {early[1]:.0f} files, in the end {late[0]:.0f} and {late[1]:.0f}; see {tmp_path}"
        )
        assert late[0] - early[0] < 20  # 2 KB a step
        assert late[1] - early[1] < 5


def draw(seconds: np.ndarray, memory: np.ndarray, files: np.ndarray, path: Path) -> None:
    """A plot of what a training took, over its time."""
    figure = matplotlib.figure.Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(seconds, memory)
    above.set(ylabel="memory in MiB", ylim=(0, None), title=f"A training of {STEPS:,} steps and its worker")
    below.plot(seconds, files)
    below.set(ylabel="open files", ylim=(0, None), xlabel="seconds")
    figure.savefig(path)
