"""Fixtures for all tests, and the environment they run in.

Modules that take seconds to import are imported where they are used: the controlling process of pytest-xdist, which
runs no test, imports this file too.
"""

import gc
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browser import browser  # noqa: F401 — a fixture
from support.commands import Command, run_command
from support.fork_server import share_server
from support.object_store import bucket, s3  # noqa: F401 — fixtures
from support.wandb_server import wandb_server  # noqa: F401 — a fixture

if TYPE_CHECKING:
    from PIL import Image


FORKING = ("callbacks/test_interruption.py", "faults/test_nonfinite.py", "models/test_critics.py")
"""Files with tests that fork this process for DDP, which torch refuses after some uses of autograd in other files."""

LONGEST_FIRST = (
    *FORKING,
    "evaluate/test_main.py", "train/test_main.py", "loggers/test_trackers.py", "sweeps/test_search.py",
    "export/test_main.py", "faults/test_untrusted_files.py", "study/test_main.py", "test_packaging.py",
    "test_plugins.py", "faults/test_kill.py", "train/test_processes.py", "train/test_mistakes.py",
    "faults/test_photographs.py", "demo/test_main.py", "sweeps/test_report.py", "faults/test_signals.py",
    "data/test_sources.py", "config/test_checking.py", "models/test_colorizer.py", "metrics/test_networks.py",
    "callbacks/test_checkpoints.py", "callbacks/test_comparison.py", "models/test_weights.py",
    "faults/test_trackers.py", "faults/test_full_disk.py", "callbacks/test_random_state.py",
    "data/test_datamodule.py", "docs/test_reference.py", "callbacks/test_curves.py", "colorize/test_film.py",
    "benchmark/test_train.py", "leaderboard/test_main.py", "runs/test_origin.py", "shards/test_main.py",
    "faults/test_overrides.py",
)  # fmt: skip
"""The files that fork, then those that take longest. `make test` gives each file to one process, in this order."""


ENVIRONMENT = {
    "WANDB_MODE": "offline", "COLUMNS": "200",
    "OMP_NUM_THREADS": "1",  # several small processes at once must not fight over the cores
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no process is left with one at the end while the others are done."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment, and start the server that commands are forked from if several processes will run tests."""
    os.environ.update(ENVIRONMENT)
    if config.getoption("numprocesses", None):
        share_server()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Keep the garbage collector from scanning the imported modules, which are never freed."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the files of trackers, the caches and the user's key in temporary folders; use one thread per process."""
    import torch

    home = tmp_path_factory.mktemp("tracker")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        os.environ[name] = str(home)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def macaw() -> "Image.Image":
    """Return a colorful photograph."""
    from PIL import Image

    from support.image_files import MACAW

    return Image.open(MACAW).convert("RGB")


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """Return a function that runs `colorlab.train` with overrides, in an empty folder and its own process."""
    return partial(run_command, "train", cwd=tmp_path)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of 64 KiB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # a test's exception may still hold a file of it open
