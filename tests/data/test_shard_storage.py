"""Folders and buckets of shards."""

from pathlib import Path

import pytest

from colorlab.data import ColorDataModule
from colorlab.data.shard_index import Shards
from colorlab.data.shard_storage import ShardFolder, storage_at
from colorlab.errors import UserError
from colorlab.shards.__main__ import Settings, pack


def test_a_shard_missing_from_a_bucket_is_named(folder: ColorDataModule, bucket: str) -> None:
    pack(folder, Settings(bucket, megabytes=0.15))
    storage = storage_at(bucket, limit=10**9)
    Shards(storage)  # finds all of them
    with pytest.raises(UserError, match=rf"{bucket}/index.npz has \d+ bytes in place of 17"):
        storage.local("index.npz", 17)
    size = storage.sizes()["train-000001.tar"]
    copy = storage.local("train-000001.tar", size)
    whole = copy.read_bytes()
    copy.write_bytes(whole[:700])  # a copy that has become damaged is fetched again
    assert storage.local("train-000001.tar", size).read_bytes() == whole
    copy.unlink()
    storage.delete("train-000001.tar")
    with pytest.raises(UserError, match=rf"{bucket} is incomplete: train-000001.tar is missing"):
        Shards(storage)
    with pytest.raises(UserError, match=rf"{bucket}/train-000001.tar: Object at location .* not found"):
        storage.local("train-000001.tar", 17)


def test_an_unreadable_input_is_not_reported_as_an_unwritable_folder(tmp_path: Path) -> None:
    """Photographs are read while a shard is being written."""
    storage = ShardFolder(str(tmp_path / "shards"))
    with pytest.raises(FileNotFoundError, match="nowhere"), storage.create("train-000000.tar"):
        (tmp_path / "nowhere.jpg").read_bytes()
