"""The benchmark of the networks as a command; its speeds are not tested."""

import json
import sys
from pathlib import Path

import pytest

from colorlab.benchmark.__main__ import main


def test_each_network_is_measured_in_training_and_in_coloring(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--device=cpu", "--model", "unet", "eccv16", "--size=32", "--batch=2", "--rounds=1", "--threads=1")
    monkeypatch.setattr(sys, "argv", ["benchmark", "models", *words])
    main()
    unet, eccv16 = json.loads((tmp_path / "benchmark_models.json").read_text())["rows"]
    assert eccv16["parameters"] == eccv16["trained"] == pytest.approx(32.24, abs=0.01)
    assert unet["trained"] < unet["parameters"] / 2, "the encoder is frozen"
    assert all(row[key] > 0 for row in (unet, eccv16) for key in row if key.endswith(("ms", "MiB")))
    assert "a picture of 32², 2 at once, on cpu" in capsys.readouterr().out
