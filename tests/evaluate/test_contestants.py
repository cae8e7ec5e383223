"""Who is judged, and what they are shown."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from colorlab.color import rgb_to_lab
from colorlab.data.photographs import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.evaluate.contestants import _names, color, fix_reading, read_contestants
from colorlab.images.decoding import read_photograph
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint


def run_folder(path: Path, *names: str) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    for name in names:
        save_checkpoint(CUNet(width=2), path / "checkpoints" / f"{name}.ckpt")
    return path


def test_a_run_folder_stands_for_the_lowest_loss_in_its_names(tmp_path: Path) -> None:
    run = run_folder(
        tmp_path / "run", "cunet_epoch001_loss20.5", "cunet_epoch009_loss3.25", "cunet_epoch010_loss11.0", "last"
    )
    (contestant,) = read_contestants([str(run)])
    assert contestant.name == "run"
    assert contestant.checkpoint.stem == "cunet_epoch009_loss3.25"


def test_a_run_folder_without_losses_stands_for_its_last_checkpoint(tmp_path: Path) -> None:
    (contestant,) = read_contestants([str(run_folder(tmp_path / "run", "last"))])
    assert contestant.checkpoint == tmp_path / "run" / "checkpoints" / "last.ckpt"


def test_what_has_one_name_is_told_apart_by_the_folder_around(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name / "0_cunet", "last") for name in ("monday", "tuesday")]
    found = read_contestants([str(run) for run in runs])
    assert [contestant.name for contestant in found] == ["monday_0_cunet", "tuesday_0_cunet"]
    files = read_contestants([str(runs[0] / "checkpoints" / "last.ckpt"), str(run_folder(tmp_path / "b", "last"))])
    assert [contestant.name for contestant in files] == ["last", "b"]
    assert found[0].sha256 != found[1].sha256


def test_as_many_folders_stand_before_a_name_as_tell_it_from_the_others(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name / "rates" / "0_cunet", "last") for name in ("monday", "tuesday")]
    found = read_contestants([str(run) for run in (*runs, run_folder(tmp_path / "other", "last"))])
    assert [contestant.name for contestant in found] == ["monday_rates_0_cunet", "tuesday_rates_0_cunet", "other"]
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        save_checkpoint(CUNet(width=2), tmp_path / folder / "best.ckpt")
    files = read_contestants([str(tmp_path / folder / "best.ckpt") for folder in ("one", "other")])
    assert [contestant.name for contestant in files] == ["one_best", "other_best"]
    assert _names([("run",), ("old", "run")]) == ["run", "old_run"]
    for suffix in ("ckpt", "pt"):
        save_checkpoint(CUNet(width=2), tmp_path / f"twin.{suffix}")
    with pytest.raises(UserError, match="same name, twin"):
        read_contestants([str(tmp_path / f"twin.{suffix}") for suffix in ("ckpt", "pt")])


def test_one_checkpoint_cannot_be_its_own_rival(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "last")
    with pytest.raises(UserError, match="twice"):
        read_contestants([str(run), str(run / "checkpoints" / "last.ckpt")])


@pytest.fixture(scope="module")
def model() -> CUNet:
    torch.manual_seed(0)
    return CUNet(width=2).eval()


def photograph(height: int, width: int) -> torch.Tensor:
    rgb = read_photograph(SAMPLES / find_photographs(SAMPLES)[7])[None].float() / 255
    return F.interpolate(rgb, (height, width), mode="bilinear", antialias=True)


def test_a_picture_of_256_is_seen_as_it_is(model: CUNet) -> None:
    rgb = photograph(256, 256)
    with torch.no_grad():
        assert torch.equal(color(model, rgb), model(rgb_to_lab(rgb)[0]))


@pytest.mark.parametrize("size", [(300, 421), (97, 64)])
def test_a_picture_of_another_size_gets_the_color_of_its_256_version(model: CUNet, size: tuple[int, int]) -> None:
    rgb = photograph(*size)
    with torch.no_grad():
        found = color(model, rgb)
        shown = F.interpolate(rgb, (256, 256), mode="bilinear", antialias=True)
        small = model(rgb_to_lab(shown)[0])
    assert found.shape == (1, 2, *size)
    back = F.interpolate(found, (256, 256), mode="bilinear", antialias=True)
    assert (back - small).abs().mean() < 0.2 * small.std()


@pytest.mark.parametrize(("protocol", "key", "value"), [("stretch256", "size", 128), ("native", "batch_size", 8)])
def test_what_the_protocol_decides_cannot_be_set_otherwise(protocol: str, key: str, value: int) -> None:
    with pytest.raises(UserError, match=f"data.{key}={value} is not protocol={protocol}"):
        fix_reading({key: value}, protocol)
