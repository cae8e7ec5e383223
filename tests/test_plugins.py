"""Packages that extend colorlab: the example of docs/example, typed, installed, and refused everywhere else."""

import os
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from colorlab import plugins
from colorlab.command_line import parse_arguments
from colorlab.config import check
from colorlab.data.splits import SAMPLES
from colorlab.errors import UserError
from colorlab.models.weights import load
from colorlab.runs.checkpoints import find_checkpoint
from support.command_process import CommandProcess
from support.commands import SMALL, run_command
from support.image_files import MACAW

EXAMPLE = Path(__file__).parents[1] / "docs" / "example"
PHOTOS = ("data=folder", "data.root=photos", "data.workers=0")
TINY = (
    "plugins=[mylab]", "model=tiny", "model.width=4", "objective=charbonnier",
    "metrics=[psnr,mylab.metrics.ChromaError]", *PHOTOS, "data.size=32",
    "data.batch_size=4", "trainer=cpu", "logger=csv", "trainer.max_epochs=1", "hydra.run.dir=run",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a command leaves in the environment and on the path of modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in (plugins.VARIABLE, "PYTHONPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder that holds the package and a run of its network."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(EXAMPLE / "mylab", folder / "mylab")
    (folder / "photos").mkdir()
    for photograph in sorted(SAMPLES.glob("*.jpg"))[:24]:
        shutil.copy(photograph, folder / "photos")
    done = run_command("train", *TINY, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_plugins_are_taken_from_the_words_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("labone", "labtwo"):
        (tmp_path / name / "conf").mkdir(parents=True)
    others = ["model=x", "optim.lr=1"]
    for typed in (["plugins=[labone,labtwo]"], ["++plugins=[labone,labtwo]"], ["--plugins=labone,labtwo"],
                  ["--plugins", "labone,labtwo"]):  # fmt: skip
        monkeypatch.setenv(plugins.VARIABLE, "")
        assert plugins.take_typed([others[0], *typed, others[1]]) == others
        assert {"labone", "labtwo"} <= set(plugins.packages())
        assert plugins.typed_words() == ["plugins=[labone,labtwo]"]
        assert plugins.conf_folders()["labtwo"] == tmp_path / "labtwo" / "conf"
        assert os.environ["PYTHONPATH"].split(os.pathsep).count(str(tmp_path)) == 1


def test_the_option_may_be_shortened_as_all_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labone").mkdir()
    monkeypatch.setattr(sys, "argv", ["command", "--plugin", "labone"])
    assert vars(parse_arguments(ArgumentParser())) == {}
    assert "labone" in plugins.packages()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [("plugins=[nosuchlab]", "neither installed nor in"), ("plugins=../lab", "must be the name of a package")],
)
def test_a_plugin_that_does_not_exist_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plugins.take_typed([word])


def test_every_command_works_with_a_network_and_a_loss_of_another_package(folder: Path) -> None:
    for module, *words in (
        ("train", "plugins=[mylab]", "resume=run", "trainer.max_epochs=2"),
        ("evaluate", "plugins=[mylab]", "checkpoint=run", "metrics=psnr,mylab.metrics.ChromaError", *PHOTOS,
         "hydra.run.dir=evaluation"),
        ("colorize", "--plugins", "mylab", str(MACAW), "--checkpoint", "run", "-o", "colored.png"),
        ("export", "--plugins", "mylab", "run", "--to", "safetensors", "-o", "tiny.safetensors"),
        ("leaderboard", "--plugins", "mylab", "run", "-o", "board", "--sort", "chroma_error"),
    ):  # fmt: skip
        done = run_command(module, *words, cwd=folder)
        assert done.returncode == 0, (module, done.stderr)
    assert list((folder / "run" / "checkpoints").glob("tiny_epoch001_*"))
    assert "chroma_error" in (folder / "evaluation" / "evaluation.json").read_text()
    assert "chroma_error" in (folder / "board" / "leaderboard.csv").read_text()


def test_a_search_is_led_by_a_metric_of_another_package(folder: Path) -> None:
    lines = {line.split("=")[0]: line for line in TINY}
    words = [line for key, line in lines.items() if key != "hydra.run.dir"]
    done = run_command(
        "train", "-m", *words, "sweep=optuna", "sweep.metric=val/chroma_error", "sweep.trials=2",
        "optim.lr=choice(1e-3,1e-2)",
        "callbacks.comparison=null", "callbacks.curves=null", "hydra.sweep.dir=search", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the best val/chroma_error is" in done.stdout


@pytest.mark.parametrize(
    ("command", "words", "ready"),
    [
        ("demo", ("--plugins", "mylab", "run", "--port", "0"), "The page is at"),
        ("study", ("plugins=[mylab]", "checkpoint=run", "pictures=2", "practice=1", "counted=1", "vigilance=0",
                   *PHOTOS, "out=study", "port=0"), "The study is at"),
    ],
)  # fmt: skip
def test_the_pages_serve_a_network_of_another_package(
    command: str, words: tuple[str, ...], ready: str, folder: Path
) -> None:
    served = CommandProcess(*words, cwd=folder, command=command)
    while served.process.is_alive() and not (served.stdout.exists() and ready in served.output()):
        served.process.join(0.1)
    served.kill()
    assert ready in served.output()


def test_without_the_word_nothing_of_a_run_folder_is_imported(folder: Path) -> None:
    before = sorted(folder.rglob("*.ckpt"))
    for module, *words in (
        ("train", "resume=run", "trainer.max_epochs=3"),
        ("colorize", str(MACAW), "--checkpoint", "run", "-o", "out"),
    ):
        done = run_command(module, *words, cwd=folder)
        assert done.returncode == 2
        assert "add plugins=[mylab] to the command" in done.stderr
    assert sorted(folder.rglob("*.ckpt")) == before


@pytest.mark.parametrize("setting", ["plugins: [mylab]", "hydra: {job: {env_set: {COLORLAB_PLUGINS: mylab}}}"])
def test_a_configuration_file_cannot_bring_a_plugin_in(folder: Path, setting: str) -> None:
    mine = folder / "mine" / "experiment"
    mine.mkdir(parents=True, exist_ok=True)
    (mine / "evil.yaml").write_text(f"# @package _global_\n{setting}\n")
    done = run_command("train", *SMALL, "experiment=evil", "--config-dir", "mine", cwd=folder)
    assert done.returncode == 2
    assert "must be typed on the command line" in done.stderr


def test_a_plugins_class_must_make_what_its_place_needs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning import Callback

    monkeypatch.chdir(folder)
    plugins.take_typed(["plugins=[mylab]"])
    assert check({"_target_": "mylab.networks.Tiny"}, "model").build().title == "tiny"
    with pytest.raises(UserError, match="does not make what belongs here"):
        check({"_target_": "mylab.networks.Tiny"}, "callbacks.tiny", kind=Callback)
    GlobalHydra.instance().clear()


PARTS = """
import torch
from mylab.networks import Tiny

class Started(Tiny):
    def load_pretrained_parts(self):
        self.layers.load_state_dict(torch.load("layers.pt", weights_only=True))
"""


def test_pretrained_parts_are_loaded_once_at_the_start_of_a_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "parts.py").write_text(PARTS)
    (folder / "mine" / "model").mkdir(parents=True, exist_ok=True)
    (folder / "mine" / "model" / "started.yaml").write_text("_target_: parts.Started\n")
    plugins.take_typed(["plugins=[mylab,parts]"])
    layers = load(find_checkpoint(folder / "run")).layers.state_dict()
    torch.save(layers, "layers.pt")
    words = [word for word in TINY if not word.startswith(("plugins", "model=", "hydra.run.dir"))]
    words += ["plugins=[mylab,parts]", "model=started", "hydra.run.dir=started", "optim.lr=0", "--config-dir", "mine"]
    done = run_command("train", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "layers.pt").unlink()  # what is in a checkpoint needs no other file
    trained = load(find_checkpoint(folder / "started"))
    for name, weights in trained.layers.state_dict().items():
        assert torch.equal(weights, layers[name])
    others = [word for word in words if word != "hydra.run.dir=started"]
    done = run_command("train", "hydra.run.dir=refused", "model.encoder_weights=layers.pt", *others, cwd=folder)
    assert done.returncode == 2
    assert "load_pretrained_parts of started takes no file" in done.stderr
    done = run_command(
        "train", "plugins=[mylab,parts]", "resume=started", "trainer.max_epochs=2", "--config-dir", "mine", cwd=folder
    )
    assert done.returncode == 0, done.stderr
