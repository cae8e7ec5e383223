"""Fixtures of the coloring command."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from colorlab.colorize.__main__ import main
from colorlab.data.splits import SAMPLES
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint

Colorize = Callable[..., int]


@pytest.fixture(scope="session")
def model() -> CUNet:
    """Return a network that predicts strong colors."""
    torch.manual_seed(0)
    drawn = CUNet(width=2).eval()
    drawn.head.weight.data.mul_(100)
    return drawn


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pieces of ten frames."""
    monkeypatch.setattr("colorlab.colorize.film.PIECE", 10)


@pytest.fixture(scope="session")
def checkpoint(model: CUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(model, tmp_path_factory.mktemp("model") / "cunet.ckpt")


@pytest.fixture
def colorize(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Colorize:
    """Return a function that runs the command in an empty folder and returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> int:
        given = [] if "--checkpoint" in words else ["--checkpoint", checkpoint]
        given += [] if "--size" in words else ["--size", "32"]
        monkeypatch.setattr(sys, "argv", ["colorlab-colorize", *map(str, [*words, *given])])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code

    return run


@pytest.fixture
def gray() -> Image.Image:
    """Return a gray photograph."""
    return Image.open(SAMPLES / "fishes_fish1.jpg").convert("L")
