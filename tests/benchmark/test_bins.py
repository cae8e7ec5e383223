"""The benchmark of the bins as a command; its speeds are not tested."""

import json
from pathlib import Path

import pytest

from colorlab.benchmark.__main__ import main


def test_all_methods_give_the_same_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--device=cpu", "--batch=2", "--size=16", "--repeats=1", "--rounds=1")
    monkeypatch.setattr("sys.argv", ["colorlab-benchmark", "bins", *words])
    main()
    rows = json.loads((tmp_path / "benchmark_bins.json").read_text())["rows"]
    assert [row[""] for row in rows] == ["colorlab", "cdist + topk, dense target", "scikit-learn, dense target"]
    losses = [float(row["loss"]) for row in rows]
    assert losses == pytest.approx(losses[:1] * 3, rel=1e-5)
    assert all(row["median ms"] > 0 for row in rows)
    assert rows[0]["× colorlab"] == 1
    out = capsys.readouterr().out
    assert all(row[""] in out for row in rows)
