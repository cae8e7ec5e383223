"""Published files as checkpoints: recognized by their tensors' names and shapes, in every form they come in."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import save_file

import colorlab
from colorlab.colorize.files import color_files
from colorlab.colorize.jobs import Options
from colorlab.config import conf_folder, plain
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.demo.__main__ import read_models
from colorlab.errors import UserError
from colorlab.evaluate.evaluation import evaluate as run_evaluation
from colorlab.export.exporter import ExportSettings, export
from colorlab.models import ECCV16, Colorizer, DDColor, Siggraph17
from colorlab.models.layouts import LAYOUTS, Layout, recognize
from colorlab.study.folder import StudyFolder
from colorlab.study.preparation import prepare
from colorlab.study.settings import GROUPS
from colorlab.study.settings import Settings as StudySettings

BUILDS: dict[str, Callable[[], Colorizer]] = {
    "eccv16": ECCV16, "siggraph17": Siggraph17, "ddcolor_tiny": partial(DDColor, "tiny"),
}  # fmt: skip


def same(one: Colorizer, other: Colorizer) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


@pytest.mark.parametrize("name", BUILDS)
def test_a_published_file_is_loaded_without_the_name_of_its_model(name: str, tmp_path: Path) -> None:
    model = BUILDS[name]()
    torch.save(model.state_dict(), tmp_path / "release.pth")
    loaded = colorlab.load(tmp_path / "release.pth")
    assert type(loaded) is type(model)
    assert dict(loaded.hparams) == dict(model.hparams)
    assert not loaded.training
    assert same(loaded, model)
    filters = [weight for weight in loaded.parameters() if weight.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in filters)


def test_weights_are_found_in_params_and_in_a_bare_safetensors_file(tmp_path: Path) -> None:
    model = Siggraph17()
    torch.save({"params": model.state_dict()}, tmp_path / "pytorch_model.bin")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    for file in ("pytorch_model.bin", "model.safetensors"):
        assert same(colorlab.load(tmp_path / file), model)


def test_weights_that_fit_no_published_network_are_not_recognized(tmp_path: Path) -> None:
    with torch.device("meta"):
        complete, narrow = Siggraph17().state_dict(), ECCV16(width=2).state_dict()
    one_less = {name: value for name, value in complete.items() if name != "model_out.0.bias"}
    one_more = complete | {"extra": torch.zeros(1)}
    other_shape = complete | {"model_out.0.bias": torch.zeros(3)}
    for weights in (one_less, one_more, other_shape, narrow, {}, complete | {"extra": 3}, 3):
        assert recognize(weights) is None
    assert recognize(complete) is not None
    torch.save(ECCV16(width=2).state_dict(), tmp_path / "narrow.pth")
    with pytest.raises(UserError, match="does not say which model it holds"):
        colorlab.load(tmp_path / "narrow.pth")


def test_every_network_with_a_published_layout_is_recognized() -> None:
    builds = (*BUILDS.values(), partial(DDColor, "large"))
    with torch.device("meta"):
        models = [build() for build in builds]
    assert len(LAYOUTS) == len(models)
    for model in models:
        found = recognize(model.state_dict())
        assert (type(found), found.hparams) == (type(model), model.hparams)


# -- as the checkpoint of every command --------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with bare weights of a narrow DDColor, here taken for a published one, and two photographs."""
    build = partial(DDColor, width=32, queries=4, layers=3, encoder_width=8)
    narrow = Layout(build, "encoder.arch.norm3.weight", (64,))
    monkeypatch.setattr("colorlab.models.layouts.LAYOUTS", (*LAYOUTS, narrow))
    torch.save({"params": build().state_dict()}, tmp_path / "release.pth")
    (tmp_path / "photographs").mkdir()
    for name in find_photographs(SAMPLES)[:100:50]:
        shutil.copy(SAMPLES / name, tmp_path / "photographs")
    return tmp_path


def colorize(folder: Path) -> None:
    sources = [str(folder / "photographs")]
    assert color_files(sources, str(folder / "new"), str(folder / "release.pth"), "cpu", Options(size=64)) == []
    assert len(list((folder / "new").iterdir())) == 2


def evaluate(folder: Path) -> None:
    report = run_evaluation(composed("evaluate", folder, "metrics=[psnr]"), folder)
    assert "release" in report.estimates


def study(folder: Path) -> None:
    cfg = composed("study", folder, f"out={folder}/study", "practice=0", "counted=2", "vigilance=0")
    settings = StudySettings(**{key: value for key, value in cfg.items() if key not in GROUPS})
    assert list(prepare(settings, cfg, StudyFolder(Path(settings.out)))["checkpoints"]) == ["release"]


def demo(folder: Path) -> None:
    assert list(read_models([folder / "release.pth"], "cpu")) == ["release"]


def exported(folder: Path) -> None:
    for to, name in (("safetensors", "release.safetensors"), ("huggingface", "release"), ("published", "again.pth")):
        settings = ExportSettings(to)
        if to == "published":
            with pytest.raises(UserError, match="The published DDColor has width 512, this one 32"):
                export(folder / "release.pth", settings, folder / name)
        else:
            out, difference = export(folder / "release.pth", settings)
            assert out.name == name
            assert difference < 1e-6


def composed(command: str, folder: Path, *words: str) -> dict[str, Any]:
    """Return a command's configuration for the folder's weights and photographs."""
    GlobalHydra.instance().clear()
    where = (f"data.root={folder}/photographs", f"checkpoint=[{folder}/release.pth]", "trainer=cpu", "data=folder")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return plain(compose(command, [*where, "++data.workers=0", "logger=csv", "split=all", *words]))


@pytest.mark.parametrize("command", [colorize, evaluate, study, demo, pytest.param(exported, marks=pytest.mark.slow)])
def test_a_published_file_is_the_checkpoint_of_every_command(command: Callable[[Path], None], folder: Path) -> None:
    command(folder)
