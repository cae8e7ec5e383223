"""Reading checkpoints; tests/models/test_weights.py reads every format."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from colorlab.errors import UserError, reason_of
from colorlab.runs.weight_files import DamagedCheckpoint, checkpoint_typed_as, read_checkpoint


def test_reading_a_file_never_runs_code_from_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "owned").exists()


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a checkpoint that was cut off, beside a sound one."""
    torch.save({"state_dict": {"weight": torch.zeros(9)}}, tmp_path / "cunet_epoch001_loss0.50000.ckpt")
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "cunet_epoch001_loss0.50000.ckpt").read_bytes()[:-100])
    return tmp_path / "last.ckpt"


def test_the_error_of_a_damaged_checkpoint_survives_pickling(damaged: Path) -> None:
    """As from a worker of joblib; the file may be out of reach where it is read."""
    with pytest.raises(DamagedCheckpoint) as caught:
        read_checkpoint(damaged)
    pickled, said = pickle.dumps(caught.value), str(caught.value)
    assert said.endswith(f": {damaged.parent}/cunet_epoch001_loss0.50000.ckpt is the newest sound one beside it.")
    damaged.with_name("cunet_epoch001_loss0.50000.ckpt").unlink()
    copy = pickle.loads(pickled)
    assert (type(copy), str(copy)) == (DamagedCheckpoint, said)
    with (
        pytest.raises(UserError, match=r": resume=/.*\.50000\.ckpt is the newest"),
        checkpoint_typed_as("resume="),
    ):
        raise copy


class Checkpoints(torch.utils.data.Dataset):
    """Reads one checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict:
        return read_checkpoint(self.path)


@pytest.mark.parametrize("is_alone", [False, True])
def test_the_error_of_a_damaged_checkpoint_leaves_a_data_worker(damaged: Path, is_alone: bool) -> None:
    if is_alone:
        damaged.with_name("cunet_epoch001_loss0.50000.ckpt").unlink()
    with pytest.raises(DamagedCheckpoint) as caught:
        read_checkpoint(damaged)
    with pytest.raises(UserError) as from_worker, checkpoint_typed_as("resume="):
        list(DataLoader(Checkpoints(damaged), num_workers=1))
    assert reason_of(from_worker.value) == str(caught.value)
