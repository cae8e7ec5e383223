"""The benchmark of the bins, as the command that anyone runs; how fast it is, is nobody's test."""

import json
from pathlib import Path

import pytest
from conftest import run_command


def test_all_ways_to_classify_come_to_the_same_loss(tmp_path: Path) -> None:
    words = ("--device=cpu", "--batch=2", "--size=16", "--repeats=1", "--rounds=1")
    done = run_command("benchmark", "bins", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "benchmark_bins.json").read_text())["rows"]
    assert [row[""] for row in rows] == ["colorlab", "cdist + topk, dense target", "scikit-learn, dense target"]
    losses = [float(row["loss"]) for row in rows]
    assert losses == pytest.approx(losses[:1] * 3, rel=1e-5)
    assert all(row["median ms"] > 0 for row in rows)
    assert rows[0]["× colorlab"] == 1
    assert all(row[""] in done.stdout for row in rows)
