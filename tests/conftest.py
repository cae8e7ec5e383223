"""What tests share: real processes of the real command, a private place for the tracker's files, a real browser.

What takes seconds to import is imported where it is used: xdist's own process, which runs no test, reads this too.
"""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from object_store import bucket, s3  # noqa: F401 — fixtures for all
from wandb_server import wandb_server  # noqa: F401

if TYPE_CHECKING:
    from PIL import Image
    from selenium import webdriver

    from colorlab.models.colorizer import Colorizer

SMALL = (
    "model=cunet", "model.width=4", "data.size=32", "data.batch_size=16", "data.workers=1",
    "trainer=cpu", "trainer.max_epochs=2", "logger=csv", "test=false",
)  # fmt: skip
"""Overrides that make a run of seconds on the built-in photographs."""

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip

Command = Callable[..., subprocess.CompletedProcess]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What is imported stays: nobody need look through it for garbage again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    import torch

    home = tmp_path_factory.mktemp("tracker")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        os.environ[name] = str(home)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_MODE"] = "offline"
    os.environ["COLUMNS"] = "200"
    os.environ["OMP_NUM_THREADS"] = "1"  # several small processes at once must not fight over the cores
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    import torch

    torch.manual_seed(0)


def start(module: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    """Start `python -m colorlab.MODULE` in an own process group, so that it can be killed whole."""
    command = [sys.executable, "-m", f"colorlab.{module}", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run_command(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run `python -m colorlab.MODULE` to its end; forked, which saves imports, unless it starts itself again."""
    if any(word.startswith("hydra/launcher") for word in arguments):
        process = start(module, *arguments, cwd=cwd)
        out, error = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)
    from forked import run_to_its_end  # which imports this file

    return run_to_its_end(module, *arguments, where=cwd)


def exit_of(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    """Run `colorlab.train` in this process, which saves the imports of a new one, and return its exit code."""
    from hydra.core.global_hydra import GlobalHydra

    from colorlab.train.__main__ import main

    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-train", *overrides])
    try:
        main()
    except SystemExit as left:
        return left.code or 0
    return 0


def checkpoint_of(model: "Colorizer", path: Path) -> Path:
    """The part of Lightning's checkpoint that `colorlab.load` reads."""
    import torch

    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content | {"colorizer": model.qualified_name()}, path)
    return path


@pytest.fixture(scope="session")
def macaw() -> "Image.Image":
    """A colorful photograph, to be saved in many ways."""
    from pictures import MACAW
    from PIL import Image

    return Image.open(MACAW).convert("RGB")


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """Run `colorlab.train` with these overrides to its end, in an empty folder and a process of its own."""

    return partial(run_command, "train", cwd=tmp_path)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system with hardly any space."""
    where = tmp_path / "full"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", where], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system without space cannot be mounted here")
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)  # an error may still hold a file of it open


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Debian's chromium and chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def screen(browser: "webdriver.Chrome", width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def fits(browser: "webdriver.Chrome") -> bool:
    """Whether nothing on the page makes it scroll sideways."""
    return browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
