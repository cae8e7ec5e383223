"""The command that packs photographs into shards."""

import os
import signal
import sys
import tarfile
from functools import partial
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from colorlab.data import ColorDataModule
from colorlab.data.shard_index import INDEX
from colorlab.data.sharded_datamodule import ShardedDataModule
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.shards.__main__ import Settings, main, pack
from support.command_process import CommandProcess
from support.commands import WITH_PICTURES, run_command
from support.fault_injection import at_call


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | None:
    """Run the command in this process and return its exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-shards", *words])
    try:
        main()
    except SystemExit as left:
        return left.code
    return 0


def test_shards_are_tar_files_with_the_bytes_of_the_photographs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "out=shards", "megabytes=1", "data.workers=2") == 0
    out = capsys.readouterr().out
    assert "Packing train" in out
    assert "in shards (153 train, 24 val, 24 test; 5." in out
    assert "data=shards data.root=shards" in out
    packed = []
    for shard in sorted((tmp_path / "shards").glob("*.tar")):
        assert shard.stat().st_size <= 1_100_000
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            packed += [tar.extractfile(member).read() for member in members]
        assert len({member.name.split(".", 1)[0] for member in members}) == len(members)  # WebDataset's samples
    assert sorted(packed) == sorted((SAMPLES / name).read_bytes() for name in find_photographs(SAMPLES))
    assert os.listdir() == ["shards"]
    assert command(monkeypatch, "out=shards") == 2
    assert "out=shards holds shards already" in capsys.readouterr().err


def test_a_killed_build_is_unreadable_and_the_next_one_is_complete(tmp_path: Path) -> None:
    words = ("out=shards", "megabytes=0.01", "short_side=100", "data.workers=0")
    killed = partial(at_call, "tarfile:TarFile.addfile", 50)
    packing = CommandProcess(*words, cwd=tmp_path, before=killed, command="shards")
    assert packing.wait() == -signal.SIGKILL, packing.output()
    out = tmp_path / "shards"
    assert len(list(out.glob("*.tar"))) >= 20
    assert not (out / INDEX).exists()
    with pytest.raises(UserError, match="an unfinished build"):
        ShardedDataModule(str(out))
    data = ColorDataModule(workers=0)
    pack(data, Settings(str(out)))
    assert sorted(path.name for path in out.iterdir()) == [
        INDEX, "test-000000.tar", "train-000000.tar", "val-000000.tar"
    ]  # fmt: skip
    assert list(ShardedDataModule(str(out)).files("test")) == list(data.files("test"))


def test_a_run_trains_and_tests_from_a_bucket(tmp_path: Path, bucket: str) -> None:
    data = ColorDataModule(val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
    pack(data, Settings(bucket, megabytes=1))
    small = [word for word in WITH_PICTURES if word != "test=false"]
    words = ("data=shards", f"data.root={bucket}", "trainer.max_epochs=1", "data.workers=2", "hydra.run.dir=run")
    done = run_command("train", *small, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "photographs: 153 train, 24 val, 24 test" in done.stdout
    assert (tmp_path / "run" / "comparison" / "test.png").exists()


def test_mistakes_are_reported_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
    bucket: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    mistakes = {
        "seed=0": "out is missing: add out=",
        "out=x megabites=3": "did you mean megabytes?",
        "out=x megabytes=0": "must be above 0",
        "out=x short_side=abc": "short_side=abc must be a whole number or null",
        "out=x data._target_=colorlab.models.CUNet": "CUNet does not make what belongs here: of type Lightni",
        "out=/proc/nope": "/proc/nope cannot be written to (No such file or directory).",
        "out=file/x": "file/x cannot be written to (Not a directory).",
        "out=s3://no-such-bucket/x": "s3://no-such-bucket/x: ",
        "out=nosuch://bucket/x": "nosuch://bucket/x: ",
    }
    for words, sentence in mistakes.items():
        assert command(monkeypatch, *words.split()) == 2, words
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("colorlab: "), last
        assert sentence in last
    (tmp_path / "obstore.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert command(monkeypatch, f"out={bucket}") == 2
    assert f"colorlab: {bucket}: it needs obstore: pip install obstore" in capsys.readouterr().err
