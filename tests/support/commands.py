"""Run colorlab's commands from a test: in a new process, in a forked process, or in the test's own process.

Modules that take seconds to import are imported in the functions, because conftest.py imports this module and the
controlling process of pytest-xdist, which runs no test, imports conftest.py.
"""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

WITH_PICTURES = (
    "model=cunet", "model.width=4", "data.size=32", "data.batch_size=8", "data.workers=0",
    "trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=4", "logger=csv", "test=false",
)  # fmt: skip
"""Overrides for a run of two epochs of four steps on the built-in photographs, with everything that a run does."""

SMALL = (*WITH_PICTURES, "metrics=[psnr]", "callbacks.comparison=null", "callbacks.curves=null")
"""The same without comparison pictures, curves and slow metrics, which take half of its time."""

Command = Callable[..., subprocess.CompletedProcess]


def import_command(name: str) -> ModuleType:
    """Import the module that `python -m colorlab.NAME` runs."""
    package = find_spec(f"colorlab.{name}").submodule_search_locations is not None
    return import_module(f"colorlab.{name}.__main__" if package else f"colorlab.{name}")


def start_command(module: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    """Start `python -m colorlab.MODULE` in its own session, so that all of its processes can be killed together."""
    command = [sys.executable, "-m", f"colorlab.{module}", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run_command(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run `python -m colorlab.MODULE` to its end.

    The process is forked, which saves the imports, unless a launcher starts further processes.
    """
    if any(argument.startswith("hydra/launcher") for argument in arguments):
        process = start_command(module, *arguments, cwd=cwd)
        out, error = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)
    from support.command_process import run_forked

    return run_forked(module, *arguments, cwd=cwd)


def train_exit_code(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    """Run `colorlab.train` in this process, which saves the imports of a new one, and return its exit code.

    Hydra composes the configuration once here; a command composes it a first time to see whether it says `hydra.mode`.
    """
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra

    from colorlab.train.__main__ import main

    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-train", *overrides])
    with monkeypatch.context() as patched:
        if not any(override.startswith("sweep=") for override in overrides):  # a file of this group sets it
            patched.setattr(Hydra, "get_mode", lambda *_, **__: None)
        try:
            main()
        except SystemExit as exit_:
            return exit_.code or 0
    return 0
