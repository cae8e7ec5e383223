"""Photographs found in shards, and shards that are incomplete."""

import shutil
from pathlib import Path

import pytest

from colorlab.data import ColorDataModule
from colorlab.data.shard_index import Shards
from colorlab.data.shard_storage import storage_at
from colorlab.errors import UserError


def shards_at(root: Path) -> Shards:
    return Shards(storage_at(str(root), limit=0))


def test_a_missing_or_truncated_shard_is_named(packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packed, tmp_path / "copy")
    half = copy / "train-000002.tar"
    length = half.stat().st_size
    half.write_bytes(half.read_bytes()[:5000])
    with pytest.raises(UserError, match=rf"train-000002.tar has 5000 bytes in place of {length}"):
        shards_at(copy)
    half.unlink()
    with pytest.raises(UserError, match=r"is incomplete: train-000002.tar is missing"):
        shards_at(copy)
    (copy / "index.npz").write_bytes(b"index")
    with pytest.raises(UserError, match="is something else"):
        shards_at(copy)
    (copy / "index.npz").unlink()
    with pytest.raises(UserError, match="an unfinished build of shards"):
        shards_at(copy)
    with pytest.raises(UserError, match="holds no shards"):
        shards_at(tmp_path / "nowhere")


def test_a_photograph_in_shards_reads_like_its_file(folder: ColorDataModule, packed: Path) -> None:
    shards = shards_at(packed)
    for name in folder.files("all"):
        packed_file, file = shards / name, folder.root / name
        assert packed_file.read_bytes() == file.read_bytes()
        found, expected = packed_file.stat(), file.stat()
        assert (found.st_size, found.st_mtime_ns) == (expected.st_size, expected.st_mtime_ns)
        assert str(packed_file) == f"{packed}/{name}"
    with pytest.raises(FileNotFoundError, match=r"holds no nowhere\.jpg"):
        (shards / "nowhere.jpg").read_bytes()
