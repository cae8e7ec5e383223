"""What a run's folder means: which checkpoint, which requests."""

import os
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from colorlab.errors import UserError
from colorlab.files import copy_file
from colorlab.runs.checkpoints import find_checkpoint, sha256_of
from colorlab.runs.decay_request import drop_stale_request, request_decay, take_decay_request
from colorlab.runs.folder import RunFolder
from colorlab.runs.overrides import with_resumed_overrides
from colorlab.runs.status import Status
from colorlab.train.resume import prepare_new_run
from support.command_process import run_forked


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.write_configuration({"callbacks": {"plateau": {"patience": 5}}}, [])
    run.checkpoints.path.mkdir()
    return run


@pytest.fixture
def running(folder: RunFolder) -> RunFolder:
    """A run of this process."""
    Status(folder, "", []).begin()
    return folder


def test_a_folder_means_its_last_checkpoint_else_that_of_the_highest_epoch(folder: RunFolder) -> None:
    """By name: copying a folder changes the times of its files."""
    oldest_first = ("last", "cunet_epoch1000_loss0.1", "cunet_epoch999_loss0.3", "eccv16_epoch002_loss0.2")
    for age, name in enumerate(oldest_first):
        path = folder.checkpoints.path / f"{name}.ckpt"
        path.touch()
        os.utime(path, (1000 + age, 1000 + age))
    assert find_checkpoint(folder.path).stem == "last"
    (folder.checkpoints.path / "last.ckpt").unlink()
    assert find_checkpoint(folder.path).stem == "cunet_epoch1000_loss0.1"


def test_a_file_means_itself(folder: RunFolder) -> None:
    path = folder.checkpoints.path / "cunet_epoch001_loss0.1.ckpt"
    path.touch()
    assert find_checkpoint(path) == path
    assert RunFolder.of(path).path == folder.path


def test_a_checkpoints_digest_is_that_of_the_file_that_holds_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "model.safetensors") == known
    assert sha256_of(tmp_path) == known


def test_a_place_without_checkpoints_is_refused(folder: RunFolder) -> None:
    (folder.checkpoints.path / "notes.txt").touch()
    with pytest.raises(UserError) as refused:
        find_checkpoint(folder.path)
    assert str(refused.value) == f"{folder.path} holds no checkpoint: give the folder of a run, or a checkpoint."
    nowhere = folder.path / "nowhere"
    with pytest.raises(UserError) as refused:
        find_checkpoint(nowhere)
    assert str(refused.value) == f"{nowhere} does not exist: give the folder of a run, or a checkpoint."


def test_a_folder_that_is_no_runs_has_no_overrides(folder: RunFolder, tmp_path: Path) -> None:
    assert RunFolder(tmp_path).overrides() is None
    assert folder.overrides() == []
    folder.write_configuration({}, ["optim.lr=1e-4", "run.tags=[a,b]"])
    assert folder.overrides() == ["optim.lr=1e-4", "run.tags=[a,b]"]


def test_a_new_run_takes_the_place_of_one_that_came_to_nothing_and_of_no_other(folder: RunFolder) -> None:
    """Whose checkpoints were tidied away is done even so: its numbers stay."""
    left = (folder.metrics, folder.curves, folder.path / "origin.diff", folder.comparison / "epoch000.png")
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    folder.write_status({"status": "done"})
    with pytest.raises(UserError, match="is done, without its checkpoints: take another folder"):
        prepare_new_run(folder)
    with pytest.raises(UserError, match="holds no checkpoint"):
        with_resumed_overrides([f"resume={folder.path}"])
    assert all(file.exists() for file in left)
    folder.write_status({"status": "running"})
    assert with_resumed_overrides([f"resume={folder.path}"]) == [f"hydra.run.dir='{folder.path}'"]
    prepare_new_run(folder)
    assert not any(file.exists() for file in left)


def test_a_decay_is_asked_for_once_and_taken_once(running: RunFolder) -> None:
    assert not take_decay_request(running)
    request_decay(running)
    request_decay(running)
    assert take_decay_request(running)
    assert not take_decay_request(running)


ENDS = {
    "done": {"status": "done"},
    "interrupted": {"status": "interrupted"},
    "was killed": {"status": "running", "host": socket.gethostname(), "pid": 2**22 + 1},
    "has no status": None,
}


@pytest.mark.parametrize("how", ENDS)
def test_a_decay_of_a_run_that_does_not_run_is_refused(folder: RunFolder, how: str) -> None:
    if ENDS[how]:
        folder.write_status(ENDS[how])
    with pytest.raises(UserError) as refused:
        request_decay(folder)
    assert str(refused.value) == (
        f"The run in {folder.path} is not running ({how}): only a training that runs can be asked."
    )
    assert not folder.decay_request.exists()


@pytest.mark.parametrize(
    ("status", "obeyed"),
    [
        (None, False),
        ({"status": "done", "ended": "2026-01-01T12:00:10+00:00"}, False),
        ({"status": "interrupted", "ended": "2026-01-01T11:59:59+00:00"}, False),  # before the request
        ({"status": "interrupted", "ended": "2026-01-01T12:00:10+00:00"}, True),
        ({"status": "running", "ended": None}, True),
    ],
)
def test_a_resume_obeys_only_a_request_from_before_an_interruption(
    folder: RunFolder, status: dict | None, obeyed: bool
) -> None:
    """An earlier version left requests of finished runs, too."""
    folder.decay_request.touch()
    asked = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    os.utime(folder.decay_request, (asked, asked))
    if status:
        folder.write_status(status)
    drop_stale_request(folder)
    assert take_decay_request(folder) is obeyed


def test_all_processes_of_a_run_may_keep_its_prior_at_once(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_copied, copy = threading.Barrier(3, timeout=120), shutil.copyfile

    def copy_together(*places: Path) -> None:
        copy(*places)
        all_copied.wait()

    monkeypatch.setattr(shutil, "copyfile", copy_together)
    counted = tmp_path / "counted.npz"
    counted.write_bytes(b"prior")
    with ThreadPoolExecutor(3) as ranks:
        list(ranks.map(partial(copy_file, counted), [folder.prior] * 3))
    assert folder.prior.read_bytes() == b"prior"
    assert not list(folder.path.glob("*.part"))


def decay(path: Path) -> subprocess.CompletedProcess:
    return run_forked("decay", str(path), cwd=path.parent)


def test_the_decay_command_leaves_a_request(running: RunFolder) -> None:
    done = decay(running.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert take_decay_request(running)


@pytest.mark.parametrize("callbacks", [{"best": {}}, {"plateau": None}, None])
def test_a_decay_that_no_callback_would_take_is_refused(folder: RunFolder, callbacks: dict | None) -> None:
    folder.write_configuration({"callbacks": callbacks}, [])
    done = decay(folder.path)
    assert done.returncode == 2
    assert done.stderr == f"colorlab: The run in {folder.path} has no plateau callback to ask.\n"
    assert not take_decay_request(folder)


def test_a_decay_of_a_folder_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    done = decay(tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"colorlab: {tmp_path} is not the folder of a run (it has no config.yaml).\n"
    assert list(tmp_path.iterdir()) == []
