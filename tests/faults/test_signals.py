"""SIGTERM, Ctrl-C and SIGHUP: the first saves a checkpoint and stops the run, the second stops it at once."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.command_process import CommandProcess
from support.fault_injection import at_call, send_signals_to_self
from support.runs import RUN, resumes_identically, train_undisturbed

SIGNALS = {"SIGTERM": 143, "Ctrl-C": 130, "SIGHUP": 129}
STEP = "lightning.pytorch.core.optimizer:LightningOptimizer.step"
VALIDATION = "colorlab.models.colorizer:Colorizer.validation_step"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_undisturbed(tmp_path_factory.mktemp("undisturbed"))


def start_signaled(where: Path, place: str, call: int, *numbers: int) -> CommandProcess:
    """Start a run that gets these signals at this call of a function."""
    where.mkdir()
    return CommandProcess(
        *RUN, cwd=where, before=partial(at_call, place, call, do=partial(send_signals_to_self, *numbers))
    )


ONE_QUICKLY = [name if name == "SIGHUP" else pytest.param(name, marks=pytest.mark.faults) for name in SIGNALS]


@pytest.mark.parametrize("name", ONE_QUICKLY)
def test_one_signal_saves_after_the_step_and_stops(tally, tmp_path: Path, undisturbed: RunFolder, name: str) -> None:
    code = SIGNALS[name]
    for time_ in range(tally.times(1, 5)):
        place, call = random.choice([(STEP, random.randint(1, 11)), (VALIDATION, random.randint(1, 6))])
        print(f"call {call} of {place}")
        where = tmp_path / str(time_)
        with tally.injecting(f"{name} once: the run is saved, exit code {code}"):
            training = start_signaled(where, place, call, code - 128)
            assert training.wait() == code, training.output()
            said = [line for line in training.output().splitlines() if line.startswith("colorlab: ")]
            assert said == [
                f"colorlab: {name}: stops after this step, or validation, and saves; once more leaves at once.",
                f"colorlab: {name}: resume=run continues it.",
            ]
            assert "Traceback" not in training.output()
            status = RunFolder(where / "run").status()
            assert (status["status"], status["reason"]) == ("interrupted", name)
            assert RunFolder(where / "run").checkpoints.newest().name == "last.ckpt"
            assert resumes_identically(undisturbed, where)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.faults
def test_two_signals_stop_at_once(tally, tmp_path: Path, undisturbed: RunFolder, name: str) -> None:
    code = SIGNALS[name]
    for time_ in range(tally.times(1, 5)):
        call, where = random.randint(1, 12), tmp_path / str(time_)
        print(f"call {call}")
        with tally.injecting(f"{name} twice: the run exits at once, exit code {code}"):
            training = start_signaled(where, STEP, call, code - 128, code - 128)
            assert training.wait() == code, training.output()
            assert training.output().splitlines()[-1] == f"colorlab: {name}: left at once."
            assert "Traceback" not in training.output()
            assert RunFolder(where / "run").status()["reason"] == f"{name}, twice"
            assert resumes_identically(undisturbed, where)


@pytest.mark.faults
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_to_the_whole_group_including_workers_saves_and_stops(tally, tmp_path: Path, name: str) -> None:
    """Ctrl-C, `timeout`, systemd and SLURM signal the whole group."""
    number = SIGNALS[name] - 128
    workers = (*RUN, "data.workers=2", "trainer.max_epochs=1000")
    for time_ in range(tally.times(1, 5)):
        where = tmp_path / str(time_)
        where.mkdir()
        run = RunFolder(where / "run")
        with tally.injecting(f"{name} to all processes of a run, data workers included"):
            training = CommandProcess(*workers, cwd=where)
            while len(read_metrics(run).get("val/loss", {})) < 2:
                assert training.process.is_alive(), training.output()
                time.sleep(0.02)
            time.sleep(random.uniform(0, 1))
            os.killpg(training.process.pid, number)
            assert training.wait() == SIGNALS[name], training.output()
            assert run.status()["status"] == "interrupted"
            assert "Traceback" not in training.output(), training.output()
            epochs = max(read_metrics(run)["val/loss"]) + 2
            words = f"trainer.max_epochs={epochs}"
            assert resumes_identically(train_undisturbed(where / "undisturbed", words), where, words)


@pytest.mark.parametrize("name", [pytest.param("Ctrl-C", marks=pytest.mark.faults), "SIGTERM"])
def test_a_signal_before_training_stops_at_once(tally, tmp_path: Path, name: str) -> None:
    with tally.injecting(f"{name} before training starts, while colors are counted"):
        counting = partial(
            at_call, "colorlab.data.color_histogram:split_lab", 3, do=partial(send_signals_to_self, SIGNALS[name] - 128)
        )
        words = (*RUN, "objective=rebalanced_classification")
        training = CommandProcess(*words, cwd=tmp_path, before=counting)
        assert training.wait() == SIGNALS[name], training.output()
        assert training.output().splitlines()[-1] == f"colorlab: {name}: resume=run continues it."
        assert "Traceback" not in training.output()


def test_an_interrupted_sweep_says_how_to_list_its_finished_runs(tally, tmp_path: Path) -> None:
    with tally.injecting("SIGTERM to a sweep"):
        sweep = ("-m", *RUN[:-1], "seed=1,2,3", "hydra.sweep.dir=sweep")
        interrupt = partial(at_call, STEP, 14, do=partial(send_signals_to_self, signal.SIGTERM))
        training = CommandProcess(*sweep, cwd=tmp_path, before=interrupt)
        assert training.wait() == 143, training.output()
        said = training.output()
        print(said)
        assert "Traceback" not in said
        states = [RunFolder(folder).status()["status"] for folder in sorted((tmp_path / "sweep").glob("*_seed*"))]
        assert states == ["done", "interrupted"]
        assert said.splitlines()[-1] == "  leaderboard of the finished runs: python -m colorlab.leaderboard sweep"
