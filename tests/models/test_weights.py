"""Files of weights: what is written, what is read, and with which message others are refused."""

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
from colorlab.models.weights import model_config, read_weights, write_safetensors
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.schedules import Constant
from support.checkpoints import save_checkpoint


@pytest.fixture
def model() -> CUNet:
    return CUNet(width=2, pool="max", temperature=0.5).eval()


@pytest.fixture
def folder(model: CUNet, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def same_weights(one: CUNet, other: CUNet) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_a_pretrained_folder_has_hugging_faces_layout_and_loads(model: CUNet, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["CUNet"]
    for loaded in (colorlab.load(folder), colorlab.load(find_checkpoint(folder))):
        assert dict(loaded.hparams) == dict(model.hparams)
        assert same_weights(loaded, model)
    with pytest.raises(UserError, match="holds a cunet, not a eccv16"):
        ECCV16.from_pretrained(folder)


def test_of_a_runs_folder_the_best_checkpoint_is_loaded(model: CUNet, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name, kept in (("last", CUNet(width=2)), ("cunet_epoch003_loss0.50000", model)):
        checkpoint = {"state_dict": kept.state_dict(), **model_config(kept)}
        torch.save(checkpoint, tmp_path / "checkpoints" / f"{name}.ckpt")
    assert same_weights(colorlab.load(tmp_path), model)
    with pytest.raises(UserError, match="none does not exist: give the folder of a run"):
        colorlab.load(tmp_path / "none")


def test_exported_weights_can_start_a_training(model: CUNet, folder: Path) -> None:
    for path in (folder, folder / "model.safetensors"):
        started = CUNet(width=2)
        read_weights(started, path)
        assert same_weights(started, model)


# -- refused -----------------------------------------------------------------------------------------


def test_a_changed_folder_is_refused(folder: Path) -> None:
    config = folder / "config.json"
    right = json.loads(config.read_text())
    for wrong, message in (
        ("{", "does not say which model"),
        ("[]", "does not say which model"),
        (json.dumps(right | {"colorizer": "os.system"}), "os.system is not allowed"),
        (json.dumps(right | {"hyper_parameters": {"widht": 2}}), "cannot be rebuilt: Unknown key widht: did you mean"),
        (json.dumps(right | {"hyper_parameters": {"width": "x"}}), "cannot be rebuilt: width=x must be a whole number"),
        (json.dumps(right | {"hyper_parameters": {"weights": "x"}}), "cannot be rebuilt: Unknown key weights"),
        (json.dumps(right | {"hyper_parameters": {"width": {"_target_": "x"}}}), "cannot be rebuilt: width must be a"),
        (
            json.dumps(right | {"hyper_parameters": {"width": [{"_target_": "x"}]}}),
            "cannot be rebuilt: width must be a",
        ),
        (json.dumps(right | {"hyper_parameters": 2}), "cannot be rebuilt"),
        (json.dumps(right | {"hyper_parameters": {"width": 3}}), "the weights of another model than cunet"),
    ):
        config.write_text(wrong)
        with pytest.raises(UserError, match=message) as refusal:
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
def test_a_damaged_checkpoint_is_refused_with_its_name(content: dict, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "damaged.ckpt")
    with pytest.raises(UserError, match=r"damaged\.ckpt"):
        colorlab.load(tmp_path / "damaged.ckpt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_a_file_that_is_not_a_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.ckpt is (not a checkpoint|damaged)"):
        colorlab.load(tmp_path / "x.ckpt")


def test_a_torn_or_bare_safetensors_file_is_refused(model: CUNet, tmp_path: Path) -> None:
    whole, torn, bare = (tmp_path / f"{name}.safetensors" for name in ("whole", "torn", "bare"))
    write_safetensors(model, whole)
    torn.write_bytes(whole.read_bytes()[:-9])
    save_file({"weight": torch.zeros(2)}, bare)
    with pytest.raises(UserError, match="is not a checkpoint"):
        colorlab.load(torn)
    with pytest.raises(UserError, match="does not say which model it holds"):
        colorlab.load(bare)


def test_loading_bare_weights_as_a_model_names_the_key_that_takes_them(model: CUNet, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"model\.weights="):
        colorlab.load(tmp_path / "bare.pth")


def test_weights_of_another_model_are_refused(model: CUNet, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "cunet.pth")
    with pytest.raises(UserError, match="holds the weights of another model than eccv16"):
        read_weights(ECCV16(width=4), tmp_path / "cunet.pth")


# -- the built-in model ------------------------------------------------------------------------------


def test_the_built_in_model_beats_gray_by_a_decibel_on_unseen_photographs() -> None:
    """On the 24 photographs that its training set aside."""
    model = colorlab.load()
    assert find_checkpoint(Path("built-in")).stat().st_size < 5e6
    data = ColorDataModule(val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
    model.prepare_training(torch.nn.MSELoss(), torch.optim.Adam, Constant(), ["psnr"])
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (found,) = trainer.test(model, datamodule=data, verbose=False)
    assert found["test/psnr"] > found["test/psnr_gray"] + 1


def test_a_file_named_built_in_comes_before_the_built_in_model(
    model: CUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(Path("built-in")).suffix == ".safetensors"
    save_checkpoint(model, tmp_path / "built-in")
    assert find_checkpoint(Path("built-in")) == Path("built-in")
    assert same_weights(colorlab.load("built-in"), model)
