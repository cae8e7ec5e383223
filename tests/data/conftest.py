"""Photographs in a folder, and the same packed into shards."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from colorlab.data import ColorDataModule
from colorlab.data.splits import SAMPLES
from colorlab.shards.__main__ import Settings, pack

SETTINGS = {"size": 32, "batch_size": 8}


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty built-in photographs, one with an unusual name in a sub-folder; five torn and five gray ones."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "élan").mkdir()
    for place, path in enumerate(sorted(SAMPLES.glob("*.jpg"))[:60]):
        shutil.copy(path, root / "élan" / "a.b 9.JPG" if place == 7 else root)
    for number in range(5):
        (root / f"torn{number}.jpg").write_bytes(b"torn")
        Image.open(path).convert("L").save(root / f"gray{number}.png")
    return root


@pytest.fixture(scope="session")
def folder(photographs: Path) -> ColorDataModule:
    return ColorDataModule(str(photographs), **SETTINGS, workers=0, val_fraction=0.2, test_fraction=0.2)


@pytest.fixture(scope="session")
def packed(folder: ColorDataModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards with three or four of the photographs each."""
    out = tmp_path_factory.mktemp("shards")
    pack(folder, Settings(str(out), megabytes=0.15))
    return out
