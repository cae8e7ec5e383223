"""Exported models, read by programs that know nothing of colorlab."""

import importlib.util
import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor, nn

import colorlab
from colorlab.bins import CENTERS
from colorlab.export.__main__ import main
from colorlab.models import ECCV16, Colorizer, CUNet
from colorlab.models.weights import LICENSES, read_weights
from support.checkpoints import save_checkpoint


class OtherECCV16(nn.Module):
    """eccv16 as another program might implement it, from the paper's layer table."""

    def __init__(self) -> None:
        super().__init__()
        table = {
            1: [(1, 64, 1, 1), (64, 64, 2, 1)],
            2: [(64, 128, 1, 1), (128, 128, 2, 1)],
            3: [(128, 256, 1, 1), (256, 256, 1, 1), (256, 256, 2, 1)],
            4: [(256, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1)],
            5: [(512, 512, 1, 2)] * 3,
            6: [(512, 512, 1, 2)] * 3,
            7: [(512, 512, 1, 1)] * 3,
        }
        for number, rows in table.items():
            layers: list[nn.Module] = []
            for inputs, outputs, stride, dilation in rows:
                layers += [nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation), nn.ReLU()]
            setattr(self, f"model{number}", nn.Sequential(*layers, nn.BatchNorm2d(rows[-1][1])))
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(512, 256, 4, 2, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 313, 1),
        )  # fmt: skip
        self.model_out = nn.Conv2d(313, 2, 1, bias=False)

    def forward(self, lightness: Tensor) -> Tensor:
        x = (lightness - 50) / 100
        for number in range(1, 9):
            x = getattr(self, f"model{number}")(x)
        return F.interpolate(self.model_out(x.softmax(1)), scale_factor=4, mode="bilinear") * 110


Export = Callable[..., None]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> Export:
    """Run the command in this process, which saves the imports of a new one."""

    def run(*arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", ["colorlab-export", *map(str, arguments)])
        main()

    return run


MODELS = {
    "cunet": lambda: CUNet(width=2), "cunet bins": lambda: CUNet(width=2, head="bins"),
    "eccv16": lambda: ECCV16(width=2), "eccv16 bins": lambda: ECCV16(width=2, head="bins"),
}  # fmt: skip
SIZES = [(1, 16, 16), (3, 33, 100), (1, 17, 31), (2, 64, 40)]


def colorful(kind: str) -> Colorizer:
    """Return a network with strong colors; an untrained network's are near gray."""
    torch.manual_seed(3)
    model = MODELS[kind]().eval().requires_grad_(False)
    with torch.no_grad():
        last = model.head if kind.startswith("cunet") else model.model_out if kind == "eccv16" else model.model8[6]
        last.weight.mul_(60)
    return model


# -- graphs --------------------------------------------------------------------------------------------


def draw_pictures(rgb: bool) -> list[Tensor]:
    """Draw pictures of sizes other than those that a program was traced with."""
    return [torch.rand(count, 3, *size) if rgb else 100 * torch.rand(count, 1, *size) for count, *size in SIZES]


def compare(model: Colorizer, pictures: list[Tensor], colored: list[Tensor], rgb: bool) -> None:
    """Compare what a program gave for the pictures with what the model gives."""
    for picture, found in zip(pictures, colored, strict=True):
        if rgb:
            lab = rgb2lab(picture.double().movedim(1, -1).numpy())
            ab = model(torch.from_numpy(lab[..., :1]).movedim(-1, 1).float())
            lab[..., 1:] = ab.movedim(1, -1).numpy()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # colors outside sRGB
                true = torch.from_numpy(lab2rgb(lab)).movedim(-1, 1)
            assert (found - true).abs().max() < 2e-3
        else:
            assert found.shape == (len(picture), 2, *picture.shape[2:])
            assert (found - model(picture)).abs().max() < 1e-2
            assert found.std() > 1


GRAPHS = {"onnx": [("cunet", True)], "torch": [("eccv16 bins", False)]}
"""The network that each format writes, and whether its graph takes RGB."""


def graphs(to: str) -> list:
    """Return the cases of a format: those above, and all others for `make slow`."""
    others = [(kind, rgb) for kind in MODELS for rgb in (False, True) if (kind, rgb) not in GRAPHS[to]]
    return [*GRAPHS[to], *(pytest.param(*case, marks=pytest.mark.slow) for case in others)]


@pytest.mark.parametrize(("kind", "rgb"), graphs("onnx"))
def test_onnx_gives_the_colors_of_the_model_at_any_batch_and_size(
    kind: str, rgb: bool, export: Export, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = colorful(kind)
    export(save_checkpoint(model, tmp_path / "model.ckpt"), "--to", "onnx", *["--rgb"] * rgb)
    output = capsys.readouterr().out
    assert float(re.search(r"by at most (\S+) (RGB|units of ab)", output)[1]) < (1e-4 if rgb else 1e-2)
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = ("rgb", "colored") if rgb else ("L", "ab")
    pictures = draw_pictures(rgb)
    colored = [torch.from_numpy(session.run([names[1]], {names[0]: each.numpy()})[0]) for each in pictures]
    compare(model, pictures, colored, rgb)
    about = session.get_modelmeta().custom_metadata_map
    assert about["colorizer"] == model.qualified_name()
    assert json.loads(about["hyper_parameters"]) == dict(model.hparams)
    assert ("0..1" if rgb else "L* in 0..100") in about["input"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt", "model.onnx"]


@pytest.mark.parametrize(("kind", "rgb"), graphs("torch"))
def test_a_torch_archive_gives_the_colors_of_the_model_without_colorlab(
    kind: str, rgb: bool, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pictures = colorful(kind), draw_pictures(rgb)
    export(save_checkpoint(model, tmp_path / "model.ckpt"), "--to", "torch", *["--rgb"] * rgb)
    facts = {"colorlab.json": ""}
    with monkeypatch.context() as without:
        for name in [name for name in sys.modules if name.partition(".")[0] == "colorlab"]:
            without.setitem(sys.modules, name, None)  # its import fails
        program = torch.export.load(tmp_path / "model.pt2", extra_files=facts).module()
        colored = [program(picture) for picture in pictures]
    assert json.loads(facts["colorlab.json"])["colorizer"] == model.qualified_name()
    compare(model, pictures, colored, rgb)


def test_a_file_with_other_colors_is_removed(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    model = colorful("cunet")
    monkeypatch.setattr("colorlab.export.archive.write", lambda graph, path: path.write_text("an archive"))
    monkeypatch.setattr("colorlab.export.archive.read", lambda path: lambda lightness: model(lightness) + 0.2)
    with pytest.raises(SystemExit, match="2"):
        export(save_checkpoint(model, tmp_path / "model.ckpt"), "--to", "torch")
    assert "The file's colors differ from the model's by 0.2 (allowed: 0.1)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


# -- weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["safetensors", "huggingface"])
def test_a_file_with_nan_colors_is_removed(
    to: str, export: Export, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Weights that float16 cannot hold become infinite."""
    model = colorful("cunet")
    next(model.encoder.parameters()).data.mul_(1e6)
    checkpoint = save_checkpoint(model, tmp_path / "model.ckpt")
    with pytest.raises(SystemExit, match="2"):
        export(checkpoint, "--to", to, "--half")
    assert "The file's colors differ from the model's by nan" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize("kind", ["cunet", "eccv16 bins"])
@pytest.mark.parametrize("to", ["safetensors", "huggingface"])
def test_exported_weights_load_bit_for_bit(kind: str, to: str, export: Export, tmp_path: Path) -> None:
    model = colorful(kind)
    export(save_checkpoint(model, tmp_path / "model.ckpt"), "--to", to)
    back = colorlab.load(tmp_path / ("model.safetensors" if to == "safetensors" else "model"))
    assert type(back) is type(model)
    assert dict(back.hparams) == dict(model.hparams)
    assert not back.training
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_stores_convolutions_in_16_bits_and_norms_in_float32(half: str, export: Export, tmp_path: Path) -> None:
    model = colorful("cunet")
    export(save_checkpoint(model, tmp_path / "model.ckpt"), "--to", "safetensors", "--half", half)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata()["convolutions"] == half
        assert file.metadata()["license"] == LICENSES
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds["head.weight"] == getattr(torch, half)
    assert kinds["bottom.0.2.running_var"] == torch.float32
    back = colorlab.load(tmp_path / "model.safetensors").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(back[name], value.to(kinds[name]).to(value.dtype)), name


def test_force_replaces_only_the_files_of_the_model(export: Export, tmp_path: Path) -> None:
    first, second = (save_checkpoint(CUNet(width=width), tmp_path / f"{width}.ckpt") for width in (2, 3))
    export(first, "--to", "huggingface", "-o", tmp_path / "model")
    (tmp_path / "model" / "LICENSE").write_text("mine")
    export(second, "--to", "huggingface", "-o", tmp_path / "model", "--force")
    assert colorlab.load(tmp_path / "model").hparams["width"] == 3
    assert (tmp_path / "model" / "LICENSE").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.ckpt", "3.ckpt", "model"]


# -- the published layout --------------------------------------------------------------------------------


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the comparison on a photograph, which takes a full network seconds; the tests compare instead."""
    monkeypatch.setattr("colorlab.export.parity.difference", lambda *_: 0.0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("head", ["ab", "bins"])
def test_published_weights_load_elsewhere_and_back_bit_for_bit(export: Export, tmp_path: Path, head: str) -> None:
    torch.manual_seed(3)
    model = ECCV16(head=head).eval()
    checkpoint = save_checkpoint(model, tmp_path / "model.ckpt")
    export(checkpoint, "--to", "published", "-o", tmp_path / "published.pth")
    other, lightness = OtherECCV16().eval(), torch.rand(1, 1, 32, 48) * 100
    other.load_state_dict(torch.load(tmp_path / "published.pth", weights_only=True), strict=True)
    back = ECCV16(head=head).eval()
    read_weights(back, tmp_path / "published.pth")
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    with torch.no_grad():
        assert torch.equal(back(lightness), model(lightness))
        if head == "ab":
            assert (other(lightness) - model(lightness)).abs().max() < 1e-4


@pytest.mark.usefixtures("unchecked")
def test_a_folded_temperature_gives_the_same_colors_without_annealing(export: Export, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = ECCV16(head="bins").eval()
    export(save_checkpoint(model, tmp_path / "model.ckpt"), "--to", "published", "--fold-temperature")
    other, lightness = OtherECCV16().eval(), torch.rand(1, 1, 32, 48) * 100
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True), strict=True)
    assert torch.allclose(other.model_out.weight[..., 0, 0].T * 110, CENTERS)
    with torch.no_grad():
        assert (other(lightness) - model(lightness)).abs().max() < 1e-3


# -- mistakes --------------------------------------------------------------------------------------------


def test_a_mistake_is_answered_in_one_sentence_and_nothing_is_overwritten(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cunet = save_checkpoint(CUNet(width=2), tmp_path / "cunet.ckpt")
    narrow = save_checkpoint(ECCV16(width=2), tmp_path / "narrow.ckpt")
    (tmp_path / "taken.pth").write_text("mine")
    (tmp_path / "note.ckpt").write_text("no weights")
    before = sorted(path.name for path in tmp_path.iterdir())
    for words, sentence in (
        ((cunet, "--to", "published"), "cunet has no published layout"),
        ((narrow, "--to", "published"), "The published eccv16 has width 64, this one 2"),
        ((narrow, "--to", "published", "-o", tmp_path / "taken.pth"), "taken.pth exists"),
        ((tmp_path / "none.ckpt", "--to", "onnx"), "none.ckpt does not exist"),
        ((tmp_path / "note.ckpt", "--to", "onnx"), "note.ckpt is not a checkpoint"),
        ((tmp_path, "--to", "torch"), "holds no checkpoint"),
        ((cunet, "--to", "safetensors", "--rgb"), "--rgb goes with --to onnx or torch."),
        ((cunet, "--to", "onnx", "--fold-temperature"), "--fold-temperature goes with --to published."),
        ((cunet, "--to", "safetensors", "-o", tmp_path / "x.bin"), "x.bin must end in .safetensors"),
        ((cunet, "--to", "safetensors", "-o", tmp_path / "no" / "x.safetensors"), "cannot be written: No such"),
        ((cunet, "--to", "huggingface", "--evaluation", cunet), "cunet.ckpt is no evaluation.json"),
        ((cunet, "--to", "huggingface", "--evaluation", tmp_path / "e.json"), "There is no evaluation at"),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="2"):
            export(*words)
        error = capsys.readouterr().err
        assert error.startswith("colorlab: ")
        assert sentence in error
    assert (tmp_path / "taken.pth").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_missing_onnx_packages_are_answered_with_what_to_install(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else find(name, *rest)
    )
    with pytest.raises(SystemExit, match="2"):
        export(tmp_path / "model.ckpt", "--to", "onnx")
    assert "--to onnx needs onnxscript: pip install onnx onnxruntime onnxscript." in capsys.readouterr().err
