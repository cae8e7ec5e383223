"""Reference runs, and whether an interrupted and resumed run equals one that was not interrupted.

The runs have three epochs of four steps, with augmentation, and write `last.ckpt` every third step as well.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.command_process import CommandProcess
from support.commands import SMALL, WITH_PICTURES

OFTEN_SAVED = ("trainer.max_epochs=3", "callbacks.last.every_n_train_steps=3", "hydra.run.dir=run")
RUN = (*SMALL, *OFTEN_SAVED)
RUN_WITH_PICTURES = (*WITH_PICTURES, *OFTEN_SAVED)


def train_undisturbed(cwd: Path, *overrides: str, run: Sequence[str] = RUN) -> RunFolder:
    """Train to the end and return the run."""
    cwd.mkdir(exist_ok=True)
    training = CommandProcess(*run, *overrides, cwd=cwd)
    assert training.wait() == 0, training.output()
    return RunFolder(cwd / "run")


def resumes_identically(undisturbed: RunFolder, cwd: Path, *overrides: str) -> bool:
    """Resume the run in `cwd` and return whether it ends as the undisturbed run did."""
    resumed = CommandProcess("resume=run", *overrides, cwd=cwd)
    assert resumed.wait() == 0, resumed.output()
    return same_run(RunFolder(cwd / "run"), undisturbed)


def forget_the_user(run: RunFolder) -> None:
    """Remove the seal of a run's overrides: they are a stranger's then, or those of an earlier version."""
    text, mark, _ = run.overrides_file.read_text().rpartition("# recorded by ")
    assert mark
    run.overrides_file.write_text(text)


def same_run(one: RunFolder, other: RunFolder) -> bool:
    """Compare two runs' checkpoint names, weights, optimizer states and metrics, bit for bit."""
    names = [
        sorted(path.name for path in run.checkpoints.path.iterdir() if path.suffix != ".part") for run in (one, other)
    ]
    assert names[0] == names[1]
    first, second = (torch.load(run.checkpoints.newest(), weights_only=True) for run in (one, other))
    assert first["global_step"] == second["global_step"]
    for state in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(first[state], second[state], rtol=0, atol=0)
    assert _metrics(one) == _metrics(other)
    return True


def _metrics(run: RunFolder) -> dict[str, dict[int, float]]:
    return {name: values for name, values in read_metrics(run).items() if not name.startswith("speed/")}
