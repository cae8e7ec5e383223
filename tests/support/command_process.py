"""Commands in real processes that start at once: they are forked from a server that has imported everything."""

import atexit
import gc
import multiprocessing
import multiprocessing.util
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from wandb.sdk.data_types._private import MEDIA_TMP

from support.commands import import_command
from support.fork_server import start_server

_context = multiprocessing.get_context("forkserver")


class CommandProcess:
    """`python -m colorlab.COMMAND` in its own process and process group.

    Args:
        arguments: of the command.
        cwd: the working folder, which also gets the caches.
        before: called in the process before the command starts, for example to inject a fault.
        stdout: the file in `cwd` that gets standard output.
        stderr: the file in `cwd` that gets standard error; None: the one of standard output.
        env: environment variables; None: those of the tests.
        command: the command's name, or a script.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        before: Callable[[], None] | None = None,
        stdout: str = "printed",
        stderr: str | None = None,
        env: Mapping[str, str] | None = None,
        command: str | Path = "train",
    ) -> None:
        self.stdout, self.stderr = cwd / stdout, cwd / (stderr or stdout)
        start_server()
        self.process = _context.Process(
            target=_run, args=(command, arguments, cwd, self.stdout, self.stderr, before, env or dict(os.environ))
        )
        self.process.start()
        multiprocessing.util.Finalize(self, self.kill, exitpriority=0)  # if a test fails before the process ends

    def output(self) -> str:
        """Return what the process has written to standard output."""
        return self.stdout.read_text()

    def kill(self) -> None:
        """Kill the whole process group with SIGKILL."""
        if not self.process.is_alive():
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:  # the process has no group of its own yet, or has just ended
            self.process.kill()

    def wait(self, timeout: float = 600) -> int:
        """Wait for the end of the process and return its exit code: minus the signal's number if one killed it."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running: {self.output()}"
        return self.process.exitcode


def _run(
    command: str | Path,
    arguments: tuple[str, ...],
    cwd: Path,
    stdout: Path,
    stderr: Path,
    before: Callable[[], None] | None,
    env: Mapping[str, str],
) -> None:
    gc.freeze()  # the server's objects
    gc.enable()
    multiprocessing.set_start_method("fork", force=True)  # the default, which the forkserver has replaced
    os.environ.clear()
    os.environ.update(env)
    MEDIA_TMP.name = tempfile.mkdtemp(dir=os.environ["WANDB_DIR"])  # the first child to end removes the server's
    os.setsid()
    os.chdir(cwd)
    os.environ["XDG_CACHE_HOME"] = str(cwd / "cache")
    with stdout.open("w") as out, stderr.open("a") as error:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno() if stderr == stdout else error.fileno(), 2)
    if before:
        before()
    try:
        if isinstance(command, Path):
            sys.argv = [str(command), *arguments]
            runpy.run_path(str(command), run_name="__main__")
        else:
            module = import_command(command)
            sys.modules["__main__"].__spec__ = module.__spec__  # Lightning reads it to start a run's further processes
            sys.argv = [f"colorlab-{command}", *arguments]
            module.main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a forked process without them


def read_standard_input_from(path: Path) -> None:
    """Make a file the standard input of this process."""
    with path.open("rb") as file:
        os.dup2(file.fileno(), 0)
    sys.stdin = os.fdopen(0)  # multiprocessing has replaced it


def run_forked(
    command: str | Path, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Run the command to its end, like `subprocess.run(..., text=True, capture_output=True)`."""
    outside = cwd.parent / f"{cwd.name}_output"  # tests check that the command leaves nothing else in `cwd`
    outside.mkdir(exist_ok=True)
    out, error = (outside / name for name in ("out", "error"))
    error.unlink(missing_ok=True)
    process = CommandProcess(*arguments, cwd=cwd, stdout=str(out), stderr=str(error), env=env, command=command)
    code = process.wait()
    return subprocess.CompletedProcess(arguments, code, out.read_text(), error.read_text())


def processes_in_session(leader: int) -> set[int]:
    """Return the process IDs of a session: the leader and every process started by it or its children."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(folder.name)) == leader:
                found.add(int(folder.name))
    return found
