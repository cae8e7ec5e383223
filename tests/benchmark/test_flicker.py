"""The measure of flicker, and its benchmark as a command."""

import json
from pathlib import Path

import pytest
import torch

from colorlab.benchmark import __main__ as command
from colorlab.benchmark.flicker import WINDOW, flicker, pan
from colorlab.data.splits import SAMPLES
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint


def test_colors_that_move_with_the_picture_do_not_flicker() -> None:
    frames = pan(SAMPLES / "fishes_fish1.jpg", 4)
    assert [tuple(frame.shape[-2:]) for frame in frames] == [WINDOW] * 4
    moving = [frame.expand(-1, 2, -1, -1) / 2 for frame in frames]
    assert flicker(moving) == 0
    generator = torch.Generator().manual_seed(0)
    noisy = [ab + 3 * torch.randn(ab.shape, generator=generator) for ab in moving]
    assert flicker(noisy) == pytest.approx(3 * 2**0.5, rel=0.01)


def test_the_table_has_each_strength_of_steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(CUNet(width=2), tmp_path / "cunet.ckpt")
    monkeypatch.chdir(tmp_path)
    words = ["colorlab-benchmark", "flicker", "cunet.ckpt", "--photographs", "1", "--frames", "3"]
    monkeypatch.setattr("sys.argv", words)
    command.main()
    rows = json.loads(Path("benchmark_flicker.json").read_text())["rows"]
    assert [row["--steady"] for row in rows] == [0, 0.5, 0.8, 0.9]
    assert rows[0]["× without"] == 1
