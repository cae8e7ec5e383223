"""Photographs as they are packed into shards."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorlab.data import ColorDataModule, ShardedDataModule, table
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.data.table import Table
from colorlab.shards.__main__ import Settings, pack
from support.tables import write_table


def test_larger_photographs_are_scaled_down_to_short_side(tmp_path: Path) -> None:
    root = tmp_path / "photographs"
    root.mkdir()
    for path in sorted(SAMPLES.glob("*.jpg"))[:8]:
        shutil.copy(path, root)
    Image.open(path).resize((40, 30)).save(root / "small.png")
    (root / "torn.jpg").write_bytes(b"torn")
    (root / "gone.jpg").symlink_to(tmp_path / "nowhere")
    whole = ColorDataModule(str(root), workers=0, val_fraction=0, test_fraction=0)
    pack(whole, Settings(str(tmp_path / "shards"), short_side=64))
    data = ShardedDataModule(str(tmp_path / "shards"), workers=0)
    assert sorted(data.names["train"]) == list(whole.names["train"])
    for name in whole.names["train"]:
        content = (data.root / name).read_bytes()
        if name == "gone.jpg":
            assert content == b""
        elif name in ("small.png", "torn.jpg"):
            assert content == (root / name).read_bytes()
        else:
            scaled, true = Image.open(io.BytesIO(content)), Image.open(root / name).convert("RGB")
            assert min(scaled.size) == 64
            assert scaled.size == pytest.approx([side * 64 / min(true.size) for side in true.size], abs=1)
            assert np.abs(np.asarray(scaled, float) - np.asarray(true.resize(scaled.size), float)).mean() < 6


def test_a_table_is_packed_in_an_order_that_reads_a_row_group_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is larger than what is kept of it in memory."""
    path = write_table(tmp_path / "photos.parquet", find_photographs(SAMPLES)[:80], group=4)
    monkeypatch.setattr(table, "KEPT", 4 * Table(path).largest)
    data = ColorDataModule(str(path), size=16, workers=0, val_fraction=0, test_fraction=0)
    opened = []
    real = table._pyarrow()
    monkeypatch.setattr(table, "_pyarrow", lambda: opened.append(1) or real)
    pack(data, Settings(str(tmp_path / "shards")))
    packed = ShardedDataModule(str(tmp_path / "shards"), size=16, workers=0).names["train"]
    assert sorted(packed) == list(data.names["train"])
    assert list(packed) != list(data.names["train"])
    assert data.root.group_count == 20
    assert 20 <= len(opened) < 25, "a random order of all rows reads about 64"
