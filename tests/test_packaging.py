"""The wheel: its content, and its commands in an environment without the repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.commands import SMALL
from support.image_files import MACAW

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it into a folder and return the folder."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True)
    return folder / "site"


COMMANDS = """
import json, os, runpy, sys
from hydra.core.global_hydra import GlobalHydra
import colorlab
print("package:", colorlab.__file__)
for folder, module, *words in json.loads(sys.argv[1]):
    os.chdir(folder)
    sys.argv = [f"colorlab-{module}", *words]
    GlobalHydra.instance().clear()
    try:
        runpy.run_module(f"colorlab.{module}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, (module, end.code)
"""
"""Runs `python -m colorlab.MODULE` for several commands in one process, which saves the imports."""


@pytest.fixture(scope="module")
def used(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Install the example package into a folder of its own, and use both from two empty folders."""
    folder = tmp_path_factory.mktemp("used")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    example = shutil.copytree(ROOT / "docs" / "example", folder / "example")
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, example], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True)
    few = ("data=animals", "data.size=32", "data.batch_size=4", "data.workers=0", "trainer=cpu", "test=false",
           "trainer.limit_train_batches=2", "trainer.max_epochs=1", "logger=csv")  # fmt: skip
    brought = ("model=tiny", "model.width=4", "objective=charbonnier", *few)
    commands = [
        ["plain", "train", "sweep=optuna", "hydra/launcher=ray", "--cfg", "hydra"],
        ["plain", "train", *SMALL, "debug=true"],
        ["plugin", "train", "-m", *brought, "optim.lr=1e-3,1e-2", "hydra.sweep.dir=sweep",
         "hydra.sweep.subdir=${hydra.job.num}"],
        ["plugin", "train", "resume=sweep/1", "trainer.max_epochs=2"],
        ["plugin", "evaluate", "checkpoint=sweep/0,sweep/1", "metrics=psnr,mylab.metrics.ChromaError", "data=animals",
         "data.workers=0", "trainer=cpu", "logger=csv"],
        ["plugin", "colorize", str(MACAW), "--checkpoint", "sweep/1", "-o", "colored.png"],
        ["plugin", "export", "sweep/1", "--to", "safetensors", "-o", "tiny.safetensors"],
    ]  # fmt: skip
    for name in ("plain", "plugin"):
        (folder / name).mkdir()
    words = json.dumps([[str(folder / name), *words] for name, *words in commands])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder / "site", installed)))}
    command = [sys.executable, "-c", COMMANDS, words]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(plain=folder / "plain", plugin=folder / "plugin", out=done.stdout, error=done.stderr)


def test_an_installed_wheel_trains_from_an_empty_folder(installed: Path, used: SimpleNamespace) -> None:
    assert used.out.splitlines()[0] == f"package: {installed / 'colorlab' / '__init__.py'}"
    (runs,) = used.plain.iterdir()
    assert runs.name == "runs", used.error
    (run,) = runs.glob("*/*_cunet")
    assert (run / "checkpoints" / "last.ckpt").exists()
    assert "photographs: 153 train, 24 val, 24 test" in used.out


def test_the_wheel_contains_the_hydra_plugins(installed: Path, used: SimpleNamespace) -> None:
    for name in ("optuna_sweeper.OptunaSweeper", "ray_launcher.RayLauncher"):
        assert f"_target_: hydra_plugins.colorlab.{name}\n" in used.out
        assert (installed / "hydra_plugins" / "colorlab" / f"{name.split('.')[0]}.py").is_file()


def test_the_wheel_contains_configuration_pages_photographs_and_credits(installed: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert f"colorlab/conf/{file.relative_to(ROOT / 'conf').as_posix()}" in inside
    assert {f"colorlab/{room}/page.html" for room in ("demo", "leaderboard", "study")} <= inside
    assert "colorlab/data/samples/CREDITS.csv" in inside
    assert "colorlab/models/built_in.safetensors" in inside
    assert sum(name.startswith("colorlab/data/samples/") and name.endswith(".jpg") for name in inside) == 201


def test_every_command_is_a_console_script(installed: Path) -> None:
    scripts = {path.name for path in (installed / "bin").iterdir()}
    modules = {path.stem: path for path in (ROOT / "colorlab").glob("*.py")}
    modules |= {path.parent.name: path for path in (ROOT / "colorlab").glob("*/__main__.py")}
    commands = {name for name, path in modules.items() if "\ndef main(" in path.read_text()}
    assert scripts == {f"colorlab-{command}" for command in commands}


def test_an_installed_package_brings_a_model_a_loss_and_a_source_to_every_command(used: SimpleNamespace) -> None:
    assert {"sweep", "colored.png", "tiny.safetensors"} <= {path.name for path in used.plugin.iterdir()}
