"""Checkpoints compared with their checksums; tests/faults/test_damage.py damages them."""

import zipfile
from pathlib import Path

import torch

from colorlab.runs.zip_check import damage_of, is_zip


def test_every_way_in_which_torch_writes_a_file_is_sound(tmp_path: Path) -> None:
    content = {"state_dict": {f"layer{number}": torch.rand(number) for number in range(40)}, "epoch": 3}
    torch.save(content, tmp_path / "plain.ckpt")
    torch.save({}, tmp_path / "empty.ckpt")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, tmp_path / "unchecked.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    for path in tmp_path.iterdir():
        assert is_zip(path)
        assert damage_of(path) is None, path
    torch.save(content, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    assert not is_zip(tmp_path / "legacy.ckpt")


def test_a_checkpoint_packed_again_by_another_program_is_sound(tmp_path: Path) -> None:
    torch.save({"state_dict": {"layer": torch.rand(9)}}, tmp_path / "plain.ckpt")
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain, zipfile.ZipFile(tmp_path / "again.ckpt", "w") as again:
        for number, member in enumerate(plain.namelist()):
            again.writestr(zipfile.ZipInfo(member, (2020, 1, 2, 3, 4, 2 * number)), plain.read(member))
    assert damage_of(tmp_path / "again.ckpt") is None
    content = bytearray((tmp_path / "again.ckpt").read_bytes())
    content[100] ^= 1
    (tmp_path / "again.ckpt").write_bytes(content)
    assert damage_of(tmp_path / "again.ckpt") is not None
