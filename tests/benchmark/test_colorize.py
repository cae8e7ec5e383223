"""The benchmark of coloring as a command; its speeds are not tested."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from colorlab.benchmark import __main__ as command
from colorlab.benchmark.colorize import METHODS, sample_photographs
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint


def test_the_table_has_every_method_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    save_checkpoint(CUNet(width=2), tmp_path / "cunet.ckpt")
    monkeypatch.chdir(tmp_path)
    words = ["--checkpoint=cunet.ckpt", "--small=1", "--large=0", "--huge=0", "--rounds=1"]
    monkeypatch.setattr("sys.argv", ["colorlab-benchmark", "colorize", *words])
    command.main()
    rows = json.loads(Path("benchmark_colorize.json").read_text())["rows"]
    assert [(row["photographs"], row[""]) for row in rows] == [("1 × 500 pixels", method) for method in METHODS]
    out = capsys.readouterr().out
    assert all(row["images/s"] > 0 and row[""] in out for row in rows)


def test_both_methods_keep_the_lightness(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CUNet(width=2).eval()
    (photograph,) = sample_photographs(tmp_path, (96, 64), 1)
    gray = np.asarray(Image.open(photograph), dtype=float)
    for name, method in METHODS.items():
        (out := tmp_path / name).mkdir()
        method(model, [photograph], out)
        colored = np.asarray(Image.open(out / photograph.name).convert("L"), dtype=float)
        assert np.abs(colored - gray).mean() < 3, name
