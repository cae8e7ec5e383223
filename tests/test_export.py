"""Weights written for other programs, read by one that knows nothing of colorlab."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import checkpoint_of
from torch import Tensor, nn

from colorlab.bins import CENTERS
from colorlab.export import main
from colorlab.models import ECCV16, CUNet


class Stranger(nn.Module):
    """eccv16 as another program might write it, from the paper's layer table."""

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
        monkeypatch.setattr(sys, "argv", ["colorlab-export", *map(str, arguments), "--to", "published"])
        main()

    return run


@pytest.mark.parametrize("head", ["ab", "bins"])
def test_published_weights_load_elsewhere_and_come_back_bit_by_bit(tmp_path: Path, head: str) -> None:
    """In a process of its own."""
    torch.manual_seed(3)
    model = ECCV16(head=head).eval()
    checkpoint = checkpoint_of(model, tmp_path / "model.ckpt")
    command = [
        sys.executable,
        "-m",
        "colorlab.export",
        checkpoint,
        "--to",
        "published",
        "-o",
        tmp_path / "published.pth",
    ]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    stranger, lightness = Stranger().eval(), torch.rand(1, 1, 32, 48) * 100
    stranger.load_state_dict(torch.load(tmp_path / "published.pth", weights_only=True), strict=True)
    back = ECCV16(head=head, weights=str(tmp_path / "published.pth")).eval()
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    with torch.no_grad():
        assert torch.equal(back(lightness), model(lightness))
        if head == "ab":
            assert (stranger(lightness) - model(lightness)).abs().max() < 1e-4


def test_a_folded_temperature_gives_our_colors_in_a_program_without_one(export: Export, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = ECCV16(head="bins").eval()
    export(checkpoint_of(model, tmp_path / "model.ckpt"), "--fold-temperature")
    stranger, lightness = Stranger().eval(), torch.rand(1, 1, 32, 48) * 100
    stranger.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True), strict=True)
    assert torch.allclose(stranger.model_out.weight[..., 0, 0].T * 110, CENTERS)
    with torch.no_grad():
        assert (stranger(lightness) - model(lightness)).abs().max() < 1e-3


def test_what_cannot_be_exported_is_said_and_nothing_is_overwritten(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cunet = checkpoint_of(CUNet(width=4), tmp_path / "cunet.ckpt")
    narrow = checkpoint_of(ECCV16(width=4), tmp_path / "narrow.ckpt")
    taken = tmp_path / "taken.pth"
    taken.write_text("mine")
    for arguments, sentence in (
        ((cunet,), "cunet has no published layout"),
        ((narrow,), "The published eccv16 has width 64, this one 4"),
        ((narrow, "-o", taken), "taken.pth exists"),
        ((tmp_path / "none.ckpt",), "There is no checkpoint at"),
    ):
        with pytest.raises(SystemExit, match="2"):
            export(*arguments)
        said = capsys.readouterr().err
        assert said.startswith("colorlab: ")
        assert sentence in said
    assert taken.read_text() == "mine"
