"""The benchmarks, as the command that anyone runs; what they measure is nobody's test."""

import re
from pathlib import Path

import pytest
from conftest import start


def test_all_ways_to_classify_come_to_the_same_loss(tmp_path: Path) -> None:
    words = ("--device=cpu", "--batch=2", "--size=16", "--repeats=1", "--rounds=1")
    process = start("benchmark", "bins", *words, cwd=tmp_path)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    rows = [line.strip("│").split("│") for line in out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["colorlab", "cdist + topk, dense target", "scikit-learn, dense target"]
    losses = [float(row[-1]) for row in rows]
    assert losses == pytest.approx(losses[:1] * 3, rel=1e-5)
    assert all(float(row[1]) > 0 and re.fullmatch(r"\d+\.\d", row[2].strip()) for row in rows)
