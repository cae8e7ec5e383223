"""Photographs in shards, against the same photographs in a folder."""

import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import nn

from colorlab.command_line import leave
from colorlab.data import ColorDataModule
from colorlab.data.augmentation import RandomCropFlip
from colorlab.data.color_histogram import count_colors
from colorlab.data.loader import ResumableLoader
from colorlab.data.photographs import Pictures
from colorlab.data.sharded_datamodule import AHEAD, ShardedDataModule, ShardOrder
from colorlab.data.splits import content_fingerprint
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.schedules import Constant
from colorlab.shards.__main__ import Settings, pack

SETTINGS = {"size": 32, "batch_size": 8}


def sharded(root: Path | str, workers: int = 0, window: int = 3, **more) -> ShardedDataModule:
    return ShardedDataModule(str(root), **(SETTINGS | {"workers": workers, "window": window} | more))


def loader(data: ShardedDataModule, epoch: int = 0, rank: int = 0, processes: int = 1) -> ResumableLoader:
    """Return the training loader of one process at an epoch, as Lightning does."""
    data.trainer = SimpleNamespace(world_size=processes, global_rank=rank)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return loader


def same(one: list[Pictures], other: list[Pictures]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(mine.rgb, theirs.rgb) and torch.equal(mine.index, theirs.index) and mine.skipped == theirs.skipped
        for mine, theirs in zip(one, other, strict=True)
    )


# -- the same as the folder --------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_and_test_batches_equal_those_of_the_folder(
    folder: ColorDataModule, packed: Path, workers: int
) -> None:
    data = sharded(packed, workers)
    assert len(data.root.index.shards) > 15
    for split in ("val", "test"):
        assert list(data.names[split]) == list(folder.names[split])
        assert same(list(data.reader(split)), list(folder.reader(split)))


def test_training_photographs_equal_those_of_the_folder(folder: ColorDataModule, packed: Path) -> None:
    data = sharded(packed)
    assert list(data.names["train"]) != list(folder.names["train"])  # assigned to shards at random
    assert sorted(data.names["train"]) == list(folder.names["train"])
    assert sorted(data.files("all")) == folder.files("all")
    assert content_fingerprint(data.root, folder.files("all")) == content_fingerprint(folder.root, folder.files("all"))
    assert torch.equal(count_colors(data), count_colors(folder))
    for name in folder.files("all"):
        mine, theirs = (data.root / name).stat(), (folder.root / name).stat()
        assert (mine.st_size, mine.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def test_gray_and_torn_photographs_are_replaced_in_training(packed: Path) -> None:
    data = sharded(packed)
    batches = list(loader(data))
    skipped = {data.photographs["train"].name(index) for batch in batches for index, _ in batch.skipped}
    left_out = {name for name in data.names["train"] if name.startswith(("torn", "gray"))}
    assert {name[:4] for name in left_out} == {"torn", "gray"}
    assert skipped == left_out
    assert [len(batch.index) for batch in batches[:-1]] == [8] * (len(batches) - 1)
    shown = {data.photographs["train"].name(index) for batch in batches for index in batch.index.tolist()}
    assert shown == set(data.names["train"]) - left_out


def test_a_model_scores_on_shards_what_it_scores_on_the_folder(
    folder: ColorDataModule, packed: Path, tmp_path: Path
) -> None:
    model = CUNet(width=2)
    model.prepare_training(nn.MSELoss(), torch.optim.SGD, Constant())
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    scores = []
    for data in (folder, sharded(packed)):
        trainer = Trainer(default_root_dir=tmp_path, **quiet)
        scores.append(trainer.validate(model, data, verbose=False) + trainer.test(model, data, verbose=False))
    assert scores[0] == scores[1]
    assert "val/psnr" in scores[0][0]


# -- the order of an epoch ---------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_each_epoch_shows_every_photograph_once_in_an_order_of_its_own(packed: Path, processes: int) -> None:
    orders = []
    for epoch in (0, 1):
        parts = [list(loader(sharded(packed), epoch, rank, processes).sampler) for rank in range(processes)]
        orders.append([index for turn in zip(*parts, strict=True) for index in turn])
    total = len(sharded(packed).names["train"])
    padding = -total % processes
    assert [sorted(order[: len(order) - padding]) for order in orders] == [list(range(total))] * 2
    assert orders[0] != orders[1]


def test_two_processes_share_the_global_batches_of_one(packed: Path) -> None:
    alone = list(loader(sharded(packed, batch_size=8)))
    halves = [list(loader(sharded(packed, batch_size=4), rank=rank, processes=2)) for rank in range(2)]
    for whole, *parts in zip(alone, *halves, strict=True):
        count = len(whole.index)  # the last one is padded, so that both have as much
        assert torch.stack([part.index for part in parts], dim=1).flatten()[:count].equal(whole.index)


def order_of(shards: int, each: int, window: int) -> np.ndarray:
    """Return the shard of each photograph, in the order of an epoch."""
    where = np.repeat(np.arange(shards), each)
    split = SimpleNamespace(locate=lambda split: (np.arange(len(where)), where), storage=None)
    order = ShardOrder(range(len(where)), split, window, processes=1, rank=0, seed=3)
    return where[list(order)]


def test_a_window_of_shards_is_needed_at_a_time_and_each_batch_mixes_it() -> None:
    met = order_of(shards=100, each=50, window=8)
    first = {shard: np.flatnonzero(met == shard)[0] for shard in range(100)}
    last = {shard: np.flatnonzero(met == shard)[-1] for shard in range(100)}
    needed = [sum(first[shard] <= place <= last[shard] for shard in range(100)) for place in range(len(met))]
    assert max(needed) <= 9
    starts = np.diff(sorted(first.values()))
    assert starts[10:-10].max() < 2.5 * starts[10:-10].mean()  # fetched at an even pace
    mixed = [len(set(met[place : place + 32])) for place in range(1000, 4000, 32)]
    assert np.mean(mixed) > 7.5


def test_up_to_a_window_of_shards_is_shuffled_as_a_whole() -> None:
    met = order_of(shards=8, each=500, window=8)
    assert Counter(met[:500].tolist()).most_common()[0][1] < 100  # 62.5 expected of each
    assert all(one != other for one, other in pairwise(order_of(2, 1, 1)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resume_within_an_epoch_gives_exactly_the_remaining_batches(packed: Path, workers: int) -> None:
    whole = list(loader(sharded(packed), epoch=1))
    begun = loader(sharded(packed, workers), epoch=1)
    batches = iter(begun)
    assert same([next(batches) for _ in range(2)], whole[:2])
    resumed = loader(sharded(packed, 2 - workers), epoch=1)
    resumed.load_state_dict(begun.state_dict())
    assert same(list(resumed), whole[2:])


def test_augmentation_depends_on_the_photograph_and_not_on_its_batch(packed: Path) -> None:
    augment = RandomCropFlip()
    crops = []
    for processes in (1, 2):
        batches = list(loader(sharded(packed), processes=processes))
        crops.append({
            int(index): crop
            for batch in batches
            for index, crop in zip(batch.index, augment(batch.rgb.float() / 255, batch.index, 0, 0), strict=True)
        })  # fmt: skip
    assert crops[1].keys() < crops[0].keys()
    assert all(torch.equal(crop, crops[0][index]) for index, crop in crops[1].items())


def test_a_window_below_one_is_an_error(packed: Path) -> None:
    with pytest.raises(UserError, match=r"data\.window=0 must be at least 1"):
        sharded(packed, window=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_lost_during_training_ends_the_run_with_a_message(
    packed: Path, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture
) -> None:
    """Its photographs must not count as unreadable, because a run goes on without those."""
    copy = shutil.copytree(packed, tmp_path / "copy")
    data = sharded(copy, workers)
    (copy / "train-000001.tar").unlink()
    with pytest.raises(UserError) as lost:
        list(loader(data))
    with pytest.raises(SystemExit):
        leave(lost.value)
    assert (
        capsys.readouterr().err == f"colorlab: {copy}/train-000001.tar is missing: it was there when the run started.\n"
    )


# -- from a bucket -----------------------------------------------------------------------------------


def test_a_bucket_gives_the_batches_of_local_shards_within_its_disk_limit(
    folder: ColorDataModule, packed: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without worker processes."""
    pack(folder, Settings(bucket, megabytes=0.15))
    local, largest = list(loader(sharded(packed), epoch=1)), int(sharded(packed).root.index.lengths.max())
    limit = (3 + AHEAD + 1) * largest
    for workers in (0, 2):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{workers}"))
        copies = tmp_path / f"cache{workers}" / "colorlab" / "shards"
        copies.mkdir(parents=True)
        killed = copies / "of-another-run-train-000000.tar.part"
        killed.write_bytes(bytes(limit))
        data = sharded(bucket, workers, disk_gigabytes=limit / 1e9)
        begun = []
        for batch in loader(data, epoch=1):
            begun.append(batch)
            assert 0 < sum(map(size_now, copies.glob("*.tar*"))) <= limit
        assert not killed.exists()
        assert same(begun, local)
        assert same(list(data.reader("val")), list(folder.reader("val")))
        resumed = loader(sharded(bucket, workers), epoch=1)
        resumed.load_state_dict({"epoch": 1, "batch": 2})
        assert same(list(resumed), begun[2:])
    with pytest.raises(UserError, match=r"disk_gigabytes=0.0001 is too small"):
        sharded(bucket, disk_gigabytes=1e-4)


def size_now(path: Path) -> int:
    """Return the size of a file, or 0 if it was deleted meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_the_next_shards_are_fetched_while_the_first_is_read(
    folder: ColorDataModule, bucket: str, tmp_path: Path
) -> None:
    pack(folder, Settings(bucket, megabytes=0.15))
    batches = iter(loader(sharded(bucket, batch_size=1)))
    next(batches)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "cache").rglob("*.tar"))) < 1 + AHEAD:
        assert time.monotonic() < deadline
        time.sleep(0.05)
