"""Weights on disk: what is read, what is refused, and in which words."""

import json
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from safetensors.torch import save_file

import colorlab
from colorlab.data import ColorDataModule
from colorlab.errors import UserError
from colorlab.models import ECCV16, CUNet
from colorlab.models.weights import write_safetensors
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.schedules import Constant
from support.checkpoints import save_checkpoint


@pytest.fixture
def model() -> CUNet:
    torch.manual_seed(0)
    return CUNet(width=2, pool="max", temperature=0.5).eval()


@pytest.fixture
def folder(model: CUNet, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_pretrained_folder_comes_back_as_the_model_it_was(model: CUNet, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["CUNet"]
    lightness = 100 * torch.rand(1, 1, 20, 30)
    for back in (CUNet.from_pretrained(folder), colorlab.load(folder), colorlab.load(find_checkpoint(folder))):
        assert dict(back.hparams) == dict(model.hparams)
        with torch.no_grad():
            assert torch.equal(back(lightness), model(lightness))
    with pytest.raises(UserError, match="holds a cunet, not a eccv16"):
        ECCV16.from_pretrained(folder)


def test_exported_weights_can_start_a_training(model: CUNet, folder: Path) -> None:
    for path in (folder, folder / "model.safetensors"):
        started = CUNet(width=2, weights=str(path))
        assert all(torch.equal(started.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_folder_that_was_changed_is_refused(folder: Path) -> None:
    config = folder / "config.json"
    right = json.loads(config.read_text())
    for wrong, sentence in (
        ("{", "does not say which model"),
        ("[]", "does not say which model"),
        (json.dumps(right | {"colorizer": "os.system"}), "holds a os.system: import it first"),
        (json.dumps(right | {"hyper_parameters": {"widht": 2}}), "cannot be rebuilt: Unknown key widht: did you mean"),
        (json.dumps(right | {"hyper_parameters": {"width": "x"}}), "cannot be rebuilt: width=x must be a whole number"),
        (json.dumps(right | {"hyper_parameters": 2}), "cannot be rebuilt"),
        (json.dumps(right | {"hyper_parameters": {"width": 3}}), "the weights of another model than cunet"),
    ):
        config.write_text(wrong)
        with pytest.raises(UserError, match=sentence) as refusal:
            colorlab.load(folder)
        assert len(str(refusal.value).splitlines()) == 1
    config.unlink()
    with pytest.raises(UserError, match=r"holds no config\.json"):
        colorlab.load(folder)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": 3, "colorizer": "colorlab.models.cunet.CUNet"},
        {"state_dict": {}, "colorizer": ["a"]},
        {"state_dict": {}, "colorizer": "colorlab.models.cunet.CUNet", "hyper_parameters": {"width": "wide"}},
    ],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(content: dict, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "damaged.ckpt")
    with pytest.raises(UserError, match=r"damaged\.ckpt"):
        colorlab.load(tmp_path / "damaged.ckpt")


def test_a_torn_or_bare_safetensors_file_is_refused(model: CUNet, tmp_path: Path) -> None:
    whole, torn, bare = (tmp_path / f"{name}.safetensors" for name in ("whole", "torn", "bare"))
    write_safetensors(model, whole)
    torn.write_bytes(whole.read_bytes()[:-9])
    save_file({"weight": torch.zeros(2)}, bare)
    with pytest.raises(UserError, match="is not a checkpoint"):
        colorlab.load(torn)
    with pytest.raises(UserError, match="does not say which model it holds"):
        colorlab.load(bare)


# -- the built-in one ------------------------------------------------------------------------------------


def test_the_built_in_model_colors_photographs_it_has_not_seen_better_than_gray() -> None:
    """By more than a decibel, on the 24 that its training set aside."""
    model = colorlab.load()
    assert find_checkpoint(Path("built-in")).stat().st_size < 5e6
    data = ColorDataModule(val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
    model.prepare_training(torch.nn.MSELoss(), torch.optim.Adam, Constant(), ["psnr"])
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (found,) = trainer.test(model, datamodule=data, verbose=False)
    assert found["test/psnr"] > found["test/psnr_gray"] + 1


def test_a_file_of_that_name_comes_before_the_built_in_one(
    model: CUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(Path("built-in")).suffix == ".safetensors"
    save_checkpoint(model, tmp_path / "built-in")
    assert find_checkpoint(Path("built-in")) == Path("built-in")
    assert torch.equal(colorlab.load("built-in").head.weight, model.head.weight)
