"""Checkpoints compared with their checksums; tests/faults/test_damage.py damages them."""

import zipfile
from pathlib import Path

import torch

from colorlab.runs.zip_check import NO_DATE, damage_of, is_zip


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


def test_a_checkpoint_of_a_later_torch_is_sound(tmp_path: Path) -> None:
    """It writes one member, or several, with other flags, dates and attributes than the rest."""
    torch.save({"state_dict": {"layer": torch.rand(9)}}, tmp_path / "plain.ckpt")
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain, zipfile.ZipFile(tmp_path / "later.ckpt", "w") as later:
        for name in plain.namelist():
            member = zipfile.ZipInfo(name, (2027, 1, 2, 3, 4, 6) if name.endswith("/version") else NO_DATE)
            member.create_system, member.internal_attr = len(name) % 3, len(name) % 2
            later.writestr(member, plain.read(name))
    content = (tmp_path / "later.ckpt").read_bytes()
    assert damage_of(tmp_path / "later.ckpt") is None
    assert torch.load(tmp_path / "later.ckpt")["state_dict"]["layer"].shape == (9,)
    with zipfile.ZipFile(tmp_path / "later.ckpt") as later:
        at = later.start_dir
    for place, bit in ((12, 3), (38, 4), (40, 0)):  # date, attribute of a folder; the last one means nothing
        damaged = bytearray(content)
        damaged[at + place] ^= 1 << bit
        (tmp_path / "damaged.ckpt").write_bytes(damaged)
        assert (damage_of(tmp_path / "damaged.ckpt") is None) == (place == 40)
