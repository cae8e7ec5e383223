"""Reading checkpoints; tests/models/test_weights.py reads every format."""

import os
from pathlib import Path

import pytest
import torch

from colorlab.errors import UserError
from colorlab.runs.weight_files import read_checkpoint


def test_reading_a_file_never_runs_code_from_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "owned").exists()
