"""The benchmark of the loaders: all give the same Lab; their speeds are not tested."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from colorlab.benchmark.__main__ import main
from colorlab.benchmark.data import LOADERS
from colorlab.data.splits import SAMPLES


def test_all_loaders_give_the_same_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "photographs"
    root.mkdir()
    for path in sorted(SAMPLES.glob("*.jpg"))[:7]:
        shutil.copy(path, root)
    monkeypatch.chdir(tmp_path)
    words = ["data", f"--root={root}", "--device=cpu", "--size=64", "--batch=4", "--rounds=1"]
    monkeypatch.setattr(sys, "argv", ["colorlab-benchmark", *words])
    main()
    content = json.loads((tmp_path / "benchmark_data.json").read_text())
    rows, measured = content["rows"], content["facts"]["measured"]
    assert len(rows) == len(measured) == len(LOADERS)
    assert all(row["images/s"] > 0 for row in rows)
    (expected,) = measured["the tutorial's: PIL + skimage, workers"]
    for ((pictures, _, mean),) in ([list(one.values()) for one in runs] for runs in measured.values()):
        assert pictures == 7
        assert mean == pytest.approx(expected["mean"], abs=2)  # they differ in how they resize
    out = capsys.readouterr().out
    assert "colorlab, data.cache=disk" in out
    assert re.search(r"colorlab's time: read and decode \d+%, resize \d+%, join \d+%, split \d+%", out)
