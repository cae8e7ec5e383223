"""Standard output and standard error fail during a training, which goes on to the same end."""

import random
from functools import partial
from pathlib import Path

import pytest

from colorlab.runs.folder import RunFolder
from support.command_process import CommandProcess
from support.commands import SMALL
from support.fault_injection import at_call, break_output
from support.runs import RUN, same_run, train_undisturbed

STEP = "lightning.pytorch.core.optimizer:LightningOptimizer.step"
FAULTS = {
    "the reader of a training's output has gone: a closed pipe": (None, "Broken pipe"),
    "a training's output goes to a full disk: /dev/full": ("/dev/full", "No space left on device"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("fault", [next(iter(FAULTS)), pytest.param(list(FAULTS)[1], marks=pytest.mark.faults)])
def test_a_training_goes_on_without_its_screen(tally, tmp_path: Path, undisturbed: RunFolder, fault: str) -> None:
    device, reason = FAULTS[fault]
    for time in range(tally.times(1, 5)):
        step, where = random.randint(1, 12), tmp_path / str(time)
        print(f"step {step}")
        where.mkdir()
        with tally.injecting(fault):
            losing = partial(at_call, STEP, step, do=partial(break_output, device, 1, 2))
            if step == 1:  # before its first line
                losing = partial(break_output, device, 1, 2)
            assert CommandProcess(*RUN, cwd=where, before=losing).wait() == 0
            assert RunFolder(where / "run").status()["status"] == "done"
            assert same_run(RunFolder(where / "run"), undisturbed)
            log = (where / "run" / "train.log").read_text()
            assert f"Standard output is lost ({reason}): the work goes on without it." in log


def test_a_sweep_goes_on_without_its_screen(tally, tmp_path: Path) -> None:
    words = ("-m", *SMALL, "model.width=2", "debug=true", "seed=1,2", "hydra.sweep.dir=sweep")
    with tally.injecting("the reader of a sweep's output has gone: a closed pipe"):
        lost = partial(break_output, None, 1, 2)
        assert CommandProcess(*words, cwd=tmp_path, before=lost).wait() == 0
        runs = [RunFolder(path) for path in sorted((tmp_path / "sweep").glob("[01]_*"))]
        assert [run.status()["status"] for run in runs] == ["done", "done"]
