"""What tests share: real processes of the real command, and a private place for the tracker's files."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from colorlab.models.colorizer import Colorizer
from colorlab.train import main

SMALL = (
    "model=cunet", "model.width=4", "data.size=32", "data.batch_size=16", "data.workers=1",
    "trainer=cpu", "trainer.max_epochs=2", "logger=csv", "test=false",
)  # fmt: skip
"""Overrides that make a run of seconds on the built-in photographs."""

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("tracker")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        os.environ[name] = str(home)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_MODE"] = "offline"
    os.environ["COLUMNS"] = "200"
    os.environ["OMP_NUM_THREADS"] = "1"  # several small processes at once must not fight over the cores
    torch.set_num_threads(1)


def start(module: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    """Start `python -m colorlab.MODULE` in an own process group, so that it can be killed whole."""
    command = [sys.executable, "-m", f"colorlab.{module}", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def exit_of(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    """Run `colorlab.train` in this process, which saves the imports of a new one, and return its exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-train", *overrides])
    try:
        main()
    except SystemExit as left:
        return left.code or 0
    return 0


def checkpoint_of(model: Colorizer, path: Path) -> Path:
    """The part of Lightning's checkpoint that `colorlab.load` reads."""
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content | {"colorizer": model.qualified_name()}, path)
    return path


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """Run `python -m colorlab.train` with these overrides to its end, in an empty folder."""

    def run(*overrides: str) -> subprocess.CompletedProcess:
        process = start("train", *overrides, cwd=tmp_path)
        out, error = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    return run
