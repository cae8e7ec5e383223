"""The benchmark of a training step as a command; its speeds are not tested."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from colorlab.benchmark.__main__ import main
from colorlab.benchmark.train import Setting, flop_per_picture
from colorlab.models import ECCV16, CUNet


def test_every_loop_of_a_model_is_timed_on_the_same_pictures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--device=cpu", "--model=cunet", "--width=2", "--size=16", "--batch=2", "--workers=0")
    monkeypatch.setattr(sys, "argv", ["benchmark", "train", *words, "--steps=2", "--rounds=2", "--epochs=1"])
    main()
    found = json.loads((tmp_path / "benchmark_train.json").read_text())
    ours, _, eager, real = found["rows"]
    assert [row["loop"] for row in found["rows"]] == [
        "colorlab", "bare loop", "bare loop, fp32 eager", "colorlab, photographs, data.cache=none",
    ]  # fmt: skip
    assert all(row["images/s"] > 0 for row in found["rows"])
    assert ours["images/s"] == pytest.approx(2 / ours["ms a step"] * 1e3)
    assert eager["× eager"] == 1
    assert real["% of resident"] > 0
    seconds = found["facts"]["models"]["cunet"]["seconds"]
    assert {loop: len(rounds) for loop, rounds in seconds.items()} == {
        "colorlab": 2, "bare loop": 2, "bare loop, fp32 eager": 2,
    }  # fmt: skip
    assert "of 2 × 16², width 2, on cpu in 32-true" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "kind"), [("eccv16", ECCV16), ("cunet", CUNet)])
def test_the_operations_are_those_of_the_convolutions_forward_and_backward(name: str, kind: type) -> None:
    """The backward pass costs twice the forward pass, except for the first layer, whose input needs no gradient."""
    model, forward, first = kind(width=4), [], []

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        sites = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        forward.append(2 * module.weight.numel() * sites[0, 0].numel())
        if module.in_channels == 1:
            first.append(forward[-1])

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count)
    model.network(torch.zeros(1, 1, 32, 32))
    assert flop_per_picture(Setting(name, 4, 32, 1, "cpu", "32-true", False)) == 3 * sum(forward) - first[0]
