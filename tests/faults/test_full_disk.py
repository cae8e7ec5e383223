"""The disk fills up while something is written to it: a small disk, in memory."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from colorlab.data.cache import CachedPhotographs, DiskCache
from colorlab.data.color_histogram import read_prior, write_prior
from colorlab.data.photographs import Photographs
from colorlab.data.splits import SAMPLES, FileNames, find_photographs
from colorlab.errors import UserError
from colorlab.loggers import MetricsCSV
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.shards.__main__ import main as shards_main
from support.commands import train_exit_code

RUN = (
    "model=cunet", "model.width=2", "data.size=16", "data.batch_size=16", "data.workers=0", "trainer=cpu",
    "trainer.max_epochs=3", "trainer.limit_train_batches=2", "logger=csv", "test=false", "callbacks.comparison.count=1",
    "callbacks.curves=null", "metrics=[psnr]",
)  # fmt: skip
MIB = 2**20


class SmallDisk:
    """A mounted disk with as much free space as a test leaves."""

    def __init__(self, path: Path) -> None:
        self.path, self.filler = path, path / "filler"

    def leave(self, room: int) -> None:
        """Fill the disk until only `room` bytes are free."""
        with self.filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, self.filler.stat().st_size + shutil.disk_usage(self.path).free - room)

    def empty(self) -> None:
        """Free the space again."""
        self.filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", path], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a disk: {mounted.stderr.strip()}")
    yield SmallDisk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Return the final weights of a run that is not disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert train_exit_code(monkeypatch, *RUN, f"hydra.run.dir={folder / 'run'}") == 0
    return newest(RunFolder(folder / "run"))


def newest(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoints.path / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("on_full", ["go_on", pytest.param("stop", marks=pytest.mark.faults)])
def test_training_on_a_full_disk_keeps_checkpoints_and_resumes(
    tally, disk: SmallDisk, weights: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, on_full: str
) -> None:
    """There is space for a random part of the checkpoints, contact sheets and metrics."""
    chance = random.Random(on_full)
    monkeypatch.chdir(disk.path)
    for number in range(tally.times(1, 15)):
        folder = RunFolder(disk.path / f"run{number}")
        disk.leave(int(chance.uniform(0.2, 2.5) * MIB))
        with tally.injecting(f"the disk fills up during training, callbacks.disk.on_full={on_full}"):
            code = train_exit_code(
                monkeypatch, *RUN, f"callbacks.disk.on_full={on_full}", f"hydra.run.dir={folder.path}"
            )
            written = capsys.readouterr()
            assert "Traceback" not in written.out + written.err
            assert not list(folder.path.rglob("*.part"))
            for checkpoint in folder.checkpoints.path.glob("*.ckpt"):
                assert torch.load(checkpoint, weights_only=True)["state_dict"].keys() == weights.keys()
            assert code in (0, 1)
            if code == 1:
                assert "cannot be written (No space left on device)" in written.out
                assert "newest checkpoint cannot be written" in written.err.splitlines()[-1]
                assert folder.status()["status"] in (
                    "failed",
                    "running",
                )  # "running" if status.json could not be written
            disk.empty()
            again = (f"resume={folder.path}",) if any(folder.checkpoints.path.glob("*.ckpt")) else RUN
            assert train_exit_code(monkeypatch, *again, f"hydra.run.dir={folder.path}") == 0
            assert sorted(read_metrics(folder)["val/loss"]) == [0, 1, 2]
            ended = newest(folder)
            assert all(torch.equal(weight, ended[name]) for name, weight in weights.items())
        shutil.rmtree(folder.path)


def test_metrics_are_written_once_there_is_space_again(tally, disk: SmallDisk) -> None:
    for rows in range(2, tally.times(3, 40)):
        folder = disk.path / str(rows)
        folder.mkdir()
        logger = MetricsCSV(str(folder))
        with tally.injecting("the disk fills up while metrics.csv is written"):
            logger.log_metrics({"epoch": 0, "val/loss": 0.5}, 1)
            logger.save()
            before = logger.path.read_bytes()
            disk.leave(0)
            for row in range(1, rows):
                logger.log_metrics({"epoch": row, "val/loss": 0.5 + row, "x" * 5000: 0.1}, row + 1)
                logger.save()
                assert logger.path.read_bytes() == before
            disk.empty()
            logger.finalize("success")
            losses = {row: 0.5 + row for row in range(rows)}
            assert read_metrics(RunFolder(folder))["val/loss"] == losses


@pytest.mark.parametrize("workers", [0, 2])
def test_the_disk_cache_reserves_its_space_before_it_is_filled(
    tally, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Otherwise, writing to a memory map on a full disk would end the process with SIGBUS."""
    names = FileNames(find_photographs(SAMPLES)[:40])
    read = Photographs.read

    def filling(photographs: Photographs, index: int) -> torch.Tensor:
        if index == 5:
            disk.leave(0)
        return read(photographs, index)

    for number in range(tally.times(1, 10)):
        with tally.injecting("the disk fills up while the disk cache is built"):
            cache = DiskCache(SAMPLES, names, 24 + number, disk.path / "cache")
            with monkeypatch.context() as patch:
                patch.setattr(Photographs, "read", filling)
                cache.open(workers)
            cached = CachedPhotographs(cache, names, fill=False)
            plain = Photographs(SAMPLES, names, cache.size, fill=False)
            assert all(torch.equal(cached[index].rgb, plain[index].rgb) for index in range(len(names)))
        disk.empty()
        disk.leave(len(names) * 100)
        with tally.injecting("the disk fills up while the disk cache is built"):
            other = DiskCache(SAMPLES, names, 50 + number, disk.path / "other")
            with pytest.raises(UserError, match=r"data\.cache=disk (needs|cannot use)"):
                other.open(workers)
            assert not list(disk.path.rglob("*.part"))
            assert not list((disk.path / "other").glob("*.pictures"))
        disk.empty()


def test_shards_that_do_not_fit_on_the_disk_are_removed(
    tally, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """There is space for a random part of them."""
    chance = random.Random(0)
    out = disk.path / "out"
    command = ["colorlab-shards", "data=samples", "data.workers=0", "megabytes=1", f"out={out}"]
    monkeypatch.setattr("sys.argv", command)
    GlobalHydra.instance().clear()
    for _ in range(tally.times(2, 20)):
        disk.leave(int(chance.uniform(0, 5) * MIB))
        with tally.injecting("the disk fills up while shards are written"):
            with pytest.raises(SystemExit) as exit_:
                shards_main()
            assert exit_.value.code == 2
            assert f"{out} cannot be written to (No space left on device)." in capsys.readouterr().err
            assert not [*out.glob("*.part"), *out.glob("index.npz")]
        shutil.rmtree(out, ignore_errors=True)
        disk.empty()
    shards_main()
    assert (out / "index.npz").is_file()


def test_a_prior_that_does_not_fit_on_the_disk_is_removed(tally, disk: SmallDisk) -> None:
    path, histogram = disk.path / "prior.npz", torch.from_numpy(np.random.RandomState(0).randint(0, 99, (256, 256)))
    for room in np.linspace(0, 60_000, tally.times(2, 12)):
        disk.leave(int(room))
        with tally.injecting("the disk fills up while a prior is written"):
            with pytest.raises(UserError, match=r"prior\.npz cannot be written"):
                write_prior(path, histogram)
            assert list(disk.path.iterdir()) == [disk.filler]
        disk.empty()
    write_prior(path, histogram)
    assert read_prior(path).sum() == pytest.approx(1)
