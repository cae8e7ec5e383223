"""Damaged files: zeros, flipped bits and missing ends in what colorlab wrote itself and reads again.

What is damaged is refused in one sentence, or made again; it is never used.
"""

import random
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import colorlab
from colorlab.data.splits import SAMPLES
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.models.weights import write_safetensors
from colorlab.runs.weight_files import DamagedCheckpoint, read_checkpoint
from support.checkpoints import save_checkpoint
from support.commands import SMALL
from support.small_training import trained

BLOCK = 4096
"""Bytes that a disk loses at once."""


def flip(content: bytes, at: int, bit: int = 0) -> bytes:
    """Return the content with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def zero(content: bytes, at: int) -> bytes:
    """Return the content with a block of zeros."""
    return content[:at] + bytes(len(content[at : at + BLOCK])) + content[at + BLOCK :]


def same(one: Any, other: Any) -> bool:
    """Return whether two contents of checkpoints are equal, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


# -- checkpoints -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that Lightning wrote, with the optimizer's state."""
    folder = tmp_path_factory.mktemp("training")
    _, trainer = trained(nn.MSELoss(), folder)
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def damages_of(checkpoint: Path) -> dict[str, bytes]:
    """Return damaged contents of a checkpoint, by what was done to it."""
    content = checkpoint.read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        directory = archive.start_dir
        largest = sorted(archive.infolist(), key=lambda member: member.file_size)[-4:]
        pickled = archive.getinfo(f"{archive.infolist()[0].filename.partition('/')[0]}/data.pkl")
    size, inside = len(content), [member.header_offset + member.file_size // 2 + 100 for member in largest]
    return (
        {f"zeros at {tenth} tenths": zero(content, size * tenth // 10) for tenth in range(0, 10, 2)}
        | {"zeros at the end": zero(content, size - BLOCK)}
        | {f"a bit of weights at {at}": flip(content, at, 7) for at in inside}
        | {f"a bit of the pickle at {at}": flip(content, pickled.header_offset + at) for at in (200, 900)}
        | {f"a bit of the directory at {at}": flip(content, directory + at, 3) for at in (8, 12, 21, 24, 70, 120)}
        | {"a bit that makes a member a folder": flip(content, directory + 38, 4)}
        | {f"cut off after {tenth} tenths": content[: size * tenth // 10] for tenth in (0, 3, 9)}
        | {f"{count} bytes cut off": content[:-count] for count in (1, 30, 2000)}
    )


def test_a_damaged_checkpoint_is_refused_and_the_newest_sound_one_is_named(
    training: Path, tmp_path: Path, tally: Any
) -> None:
    shutil.copy(training, tmp_path / "cunet_epoch004_loss0.90000.ckpt")
    shutil.copy(training, tmp_path / "cunet_epoch010_loss0.80000.ckpt")
    newest = shutil.copy(training, tmp_path / "cunet_epoch012_loss0.70000.ckpt")
    newest.write_bytes(flip(training.read_bytes(), 2000))  # a second damaged one
    assert read_checkpoint(training).keys() >= {"state_dict", "optimizer_states", "loops"}
    for what, content in damages_of(training).items():
        with tally.injecting("a checkpoint has zeros, flipped bits or no end"):
            (tmp_path / "last.ckpt").write_bytes(content)
            with pytest.raises(DamagedCheckpoint) as caught:
                read_checkpoint(tmp_path / "last.ckpt")
            assert str(caught.value).startswith(f"{tmp_path / 'last.ckpt'} is "), what
            sound = tmp_path / "cunet_epoch010_loss0.80000.ckpt"
            assert str(caught.value).endswith(f": {sound} is the newest sound one beside it."), what


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_refused_or_changes_nothing(
    training: Path, tmp_path: Path, tally: Any
) -> None:
    """Bytes between the members, which nothing reads, have no checksum."""
    content, whole, draw = training.read_bytes(), read_checkpoint(training), random.Random(0)
    refused, times = 0, tally.times(30, 500)
    for _ in range(times):
        with tally.injecting("a bit of a checkpoint is flipped"):
            (tmp_path / "last.ckpt").write_bytes(flip(content, draw.randrange(len(content)), draw.randrange(8)))
            try:
                assert same(read_checkpoint(tmp_path / "last.ckpt"), whole)
            except DamagedCheckpoint:
                refused += 1
    assert refused > 0.7 * times


READERS = {
    "--checkpoint ": ("colorize", "photograph.jpg", "--checkpoint", "CKPT", "-o", "colored.jpg"),
    "checkpoint=": ("evaluate", "checkpoint=CKPT", "data.workers=0", "trainer=cpu", "metrics=[psnr]", "logger=csv"),
    "": ("export", "CKPT", "--to", "safetensors"),
    " ": ("demo", "CKPT", "--port", "0"),
    "checkpoint= ": ("study", "checkpoint=CKPT", "data.workers=0", "trainer=cpu", "port=0"),
    "model.weights=": ("train", *SMALL, "model.width=2", "model.weights=CKPT"),
    "resume=": ("train", *SMALL, "model.width=2", "resume=CKPT"),
}
"""Every command that reads a checkpoint, by what stands before one in it."""


def test_every_command_names_the_sound_checkpoint_as_it_takes_it(
    training: Path, run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    shutil.copy(next(SAMPLES.glob("*.jpg")), tmp_path / "photograph.jpg")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    shutil.copy(training, tmp_path / "run" / "checkpoints" / "cunet_epoch003_loss0.50000.ckpt")
    damaged = Path("run/checkpoints/last.ckpt")
    (tmp_path / damaged).write_bytes(damages_of(training)["zeros at 4 tenths"])
    for word, command in list(READERS.items())[:: tally.times(2, 1)]:
        with tally.injecting("a command is given a damaged checkpoint"):
            code, said = run_command_here(*(each.replace("CKPT", str(damaged)) for each in command))
            assert code == 2, said
            sound = (
                re.escape(f": {word.strip() + ' ' * word.startswith('--')}")
                + r"\S*cunet_epoch003_loss0\.50000\.ckpt is"
            )
            assert re.search(rf"^colorlab: \S*last\.ckpt is damaged \(.*\){sound}", said, re.MULTILINE), (command, said)
            assert not (tmp_path / "outputs").exists()


def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_that_is_named(
    run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    assert run_command_here("train", *SMALL, "hydra.run.dir=run")[0] == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(zero(last.read_bytes(), 20_000))
    with tally.injecting("last.ckpt of a run is damaged"):
        code, said = run_command_here("train", "resume=run")
        assert code == 2
        suggested = re.search(r"(resume=run/checkpoints/\S+\.ckpt) is the newest sound one", said)[1]
        code, said = run_command_here("train", suggested, "trainer.max_epochs=3")
        assert code == 0, said
        assert read_checkpoint(last)["epoch"] == 2


def test_files_of_other_formats_are_checked_as_far_as_they_can_be(tmp_path: Path, tally: Any) -> None:
    """An exported file has a checksum of its own; a file of torch before 1.6 has an end."""
    model, draw = CUNet(width=2), random.Random(0)
    write_safetensors(model, tmp_path / "whole.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    exported, legacy = ((tmp_path / f"whole{suffix}").read_bytes() for suffix in (".safetensors", ".pth"))
    places = sorted(draw.sample(range(len(exported)), tally.times(30, 300)))
    damaged = chain(
        ((".safetensors", flip(exported, at, draw.randrange(8))) for at in (0, 9, *places)),
        ((".safetensors", zero(exported, at)) for at in (20_000, 60_000)),
        (
            (suffix, content[:-cut])
            for cut in (1, 5000)
            for suffix, content in ((".safetensors", exported), (".pth", legacy))
        ),
    )
    for suffix, content in damaged:
        with tally.injecting("an exported file or one of an old format is damaged"):
            path = tmp_path / f"damaged{suffix}"
            path.write_bytes(content)
            with pytest.raises(UserError, match=f"damaged{suffix} is "):
                colorlab.load(path)
    assert colorlab.load(tmp_path / "whole.safetensors").hparams == model.hparams


def test_a_safetensors_file_that_lies_is_refused(tmp_path: Path, tally: Any) -> None:
    def tensor(shape: str, offsets: str = "[0, 8]", dtype: str = "F32") -> str:
        return f'"w": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}'

    model = '"colorizer": "colorlab.models.cunet.CUNet", "hyper_parameters"'
    for header in (
        tensor("[1000000000, 1000000000]"), tensor("[2]", "[0, 8000000000000]"), tensor("[2]", "[8, 0]"), tensor("[3]"),
        tensor("[4294967296, 4294967296, 4294967296]"), tensor("[2]", dtype="F1"), tensor("[-1]"), "", "[]",
        f'{tensor("[2]")}, "v": {{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        f'{tensor("[2]")}, "__metadata__": {{{model}: "{"[" * 9999}"}}',
        f'{tensor("[2]")}, "__metadata__": {{{model}: "{{\\"width\\": 60000}}"}}',
        f'{tensor("[2]")}, "__metadata__": {{"colorlab_crc32": "\\\\"}}',
    ):  # fmt: skip
        with tally.injecting("the header of a safetensors file lies"):
            content = f"{{{header}}}".encode()
            (tmp_path / "lie.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + bytes(8))
            with pytest.raises(UserError, match=r"lie\.safetensors"):
                colorlab.load(tmp_path / "lie.safetensors")


def test_a_checkpoint_that_lies_about_its_size_is_refused_in_bounded_memory(tmp_path: Path, tally: Any) -> None:
    model = CUNet(width=2)
    content = torch.load(save_checkpoint(model, tmp_path / "whole.ckpt"), weights_only=True)
    expanded = {name: value.flatten()[:1].expand(2**20, 2**20) for name, value in content["state_dict"].items()}
    torch.save(content | {"hyper_parameters": {"width": 60_000}}, tmp_path / "wide.ckpt")
    torch.save(content | {"state_dict": expanded}, tmp_path / "repeated.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "whole.ckpt") as whole,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in whole.namelist():
            zeros = member.endswith("data/0")
            bomb.writestr(member, bytes(2**26) if zeros else whole.read(member))
    for name, complaint in (
        ("wide", "holds"),
        ("repeated", "holds less than it says"),
        ("bomb", "would unpack to more"),
    ):
        with (
            tally.injecting("a checkpoint says that it holds far more than it does"),
            pytest.raises(UserError, match=complaint),
        ):
            colorlab.load(tmp_path / f"{name}.ckpt")
