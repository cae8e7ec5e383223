"""The benchmark of augmentation and split as a command; its speeds are not tested."""

import json
import sys
from pathlib import Path

import pytest
import torch

from colorlab.benchmark.__main__ import main
from colorlab.benchmark.transform import METHODS


def test_both_methods_are_timed_and_split_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["transform", "--device=cpu", "--size=32", "--batch=3", "--rounds=1"]
    monkeypatch.setattr(sys, "argv", ["colorlab-benchmark", *words])
    main()
    rows = json.loads((tmp_path / "benchmark_transform.json").read_text())["rows"]
    assert [row["× colorlab"] for row in rows[::2]] == [1, 1]
    assert all(row["ms a picture"] > 0 for row in rows)
    rgb, index = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8), torch.arange(2)
    ours = METHODS["split"]["colorlab"](rgb, index)
    assert torch.allclose(torch.cat((ours.L, ours.ab), dim=1), METHODS["split"]["kornia"](rgb, index), atol=2e-4)
    assert METHODS["crop, flip and split"]["kornia"](rgb, index).shape == (2, 3, 16, 16)
