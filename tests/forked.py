"""Commands in real processes that begin at once, forked from a server that has imported all; and what trainings end as.

The run here has ten steps an epoch, with augmentation, and writes `last.ckpt` every third step too.
"""

import atexit
import gc
import importlib
import importlib.util
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from wandb.sdk.data_types._private import MEDIA_TMP

from colorlab.loggers import read_metrics
from colorlab.runs.folder import RunFolder

RUN = (*SMALL, "data.workers=0", "callbacks.last.every_n_train_steps=3", "hydra.run.dir=run")
QUICK = ("metrics=[psnr]", "callbacks.comparison=null", "callbacks.curves=null", "trainer.max_epochs=3")
"""Of three epochs, without pictures."""

HEAVY = (
    "lightning.pytorch", "colorlab.train.__main__", "colorlab.data.color_histogram", "colorlab.models",
    "colorlab.loggers", "colorlab.callbacks.evaluation", "colorlab.callbacks.interruption", "forked",
)  # fmt: skip

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(HEAVY))


class Training:
    """`colorlab.train`, or another command, with these arguments, in a process and a process group of its own.

    Args:
        arguments: of the command.
        where: the working folder, and that of the caches.
        rehearse: called in the process before the command, to let something happen at a certain moment.
        prints: the file in `where` that gets what the process prints.
        complains: the file for standard error; None is the same one.
        surroundings: its environment variables; None is those of the tests.
        command: `python -m colorlab.COMMAND`.
    """

    def __init__(
        self,
        *arguments: str,
        where: Path,
        rehearse: Callable[[], None] | None = None,
        prints: str = "printed",
        complains: str | None = None,
        surroundings: Mapping[str, str] | None = None,
        command: str = "train",
    ) -> None:
        self.printed, self.complained = where / prints, where / (complains or prints)
        told = (command, arguments, where, self.printed, self.complained, rehearse, surroundings)
        _serve()
        self.process = _context.Process(target=_run, args=told)
        self.process.start()
        multiprocessing.util.Finalize(self, self.kill, exitpriority=0)  # if a test fails before its end

    def kill(self) -> None:
        """kill -9, the whole group."""
        if not self.process.is_alive():
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:  # before it has a group of its own, or when it is gone
            self.process.kill()

    def end(self, within: float = 300) -> int:
        """Wait for its end; its exit code, below 0 the signal that killed it."""
        self.process.join(within)
        assert self.process.exitcode is not None, f"still running: {self.printed.read_text()}"
        return self.process.exitcode


@cache
def _serve() -> None:
    """Start the server, which finds this file."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        multiprocessing.forkserver.ensure_running()


def _run(
    command: str,
    arguments: tuple[str, ...],
    where: Path,
    printed: Path,
    complained: Path,
    rehearse: Callable[[], None] | None,
    surroundings: Mapping[str, str] | None,
) -> None:
    gc.freeze()  # the server's
    multiprocessing.set_start_method("fork", force=True)  # as where nobody chose another
    MEDIA_TMP.name = tempfile.mkdtemp(dir=os.environ["WANDB_DIR"])  # the server's goes away with the first child
    os.setsid()
    os.chdir(where)
    if surroundings is not None:
        os.environ.clear()
        os.environ.update(surroundings)
    os.environ["XDG_CACHE_HOME"] = str(where / "cache")
    with printed.open("w") as out, complained.open("a") as error:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno() if complained == printed else error.fileno(), 2)
    if rehearse:
        rehearse()
    found = importlib.util.find_spec(f"colorlab.{command}")
    if found.submodule_search_locations is not None:
        found = importlib.util.find_spec(f"colorlab.{command}.__main__")
    module = importlib.import_module(found.name)
    sys.modules["__main__"].__spec__ = found  # by which it starts itself again for further processes
    sys.argv = [f"colorlab-{command}", *arguments]
    try:
        module.main()
    finally:
        atexit._run_exitfuncs()  # as at the end of a process that is no fork


def run_to_its_end(command: str, *arguments: str, where: Path) -> subprocess.CompletedProcess:
    """`python -m colorlab.COMMAND` with these arguments in `where`, as `subprocess.run` would tell of it."""
    outside = where.parent / f"{where.name}_said"  # `where` is the command's alone
    outside.mkdir(exist_ok=True)
    out, error = (outside / name for name in ("out", "error"))
    error.unlink(missing_ok=True)
    process = Training(
        *arguments, where=where, prints=str(out), complains=str(error), surroundings=dict(os.environ), command=command
    )
    code = process.end()
    return subprocess.CompletedProcess(arguments, code, out.read_text(), error.read_text())


def trained(where: Path, *more: str) -> RunFolder:
    """An undisturbed run."""
    where.mkdir(exist_ok=True)
    training = Training(*RUN, *more, where=where)
    assert training.end() == 0, training.printed.read_text()
    return RunFolder(where / "run")


def goes_on_to(undisturbed: RunFolder, where: Path, *more: str) -> bool:
    """Whether the run in `where`, resumed, ends as an undisturbed one."""
    again = Training("resume=run", *more, where=where)
    assert again.end() == 0, again.printed.read_text()
    return same(RunFolder(where / "run"), undisturbed)


def same(one: RunFolder, other: RunFolder) -> bool:
    """Whether two runs have the same checkpoints, weights, optimizer's state and rows: bit by bit."""
    names = [
        sorted(path.name for path in run.checkpoints.path.iterdir() if path.suffix != ".part") for run in (one, other)
    ]
    assert names[0] == names[1]
    first, second = (torch.load(run.checkpoints.newest(), weights_only=True) for run in (one, other))
    assert first["global_step"] == second["global_step"]
    for state in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(first[state], second[state], rtol=0, atol=0)
    assert _rows(one) == _rows(other)
    return True


def _rows(run: RunFolder) -> dict[str, dict[int, float]]:
    return {name: values for name, values in read_metrics(run).items() if not name.startswith("speed/")}


def session_of(process: int) -> set[int]:
    """All processes that it started, and they, and so on."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(folder.name)) == process:
                found.add(int(folder.name))
    return found
