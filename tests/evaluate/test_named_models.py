"""Which checkpoints are evaluated, and under which names."""

from pathlib import Path

import pytest

from colorlab.errors import UserError
from colorlab.evaluate.named_models import load_models, unique_names
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint


def run_folder(path: Path, *names: str) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    for name in names:
        save_checkpoint(CUNet(width=2), path / "checkpoints" / f"{name}.ckpt")
    return path


def test_a_run_folder_means_its_checkpoint_with_the_lowest_loss(tmp_path: Path) -> None:
    run = run_folder(
        tmp_path / "run", "cunet_epoch001_loss20.5", "cunet_epoch009_loss3.25", "cunet_epoch010_loss11.0", "last"
    )
    (model,) = load_models([str(run)])
    assert model.name == "run"
    assert model.checkpoint.stem == "cunet_epoch009_loss3.25"


def test_a_run_folder_without_losses_means_its_last_checkpoint(tmp_path: Path) -> None:
    (model,) = load_models([str(run_folder(tmp_path / "run", "last"))])
    assert model.checkpoint == tmp_path / "run" / "checkpoints" / "last.ckpt"


def test_equal_names_are_prefixed_with_the_parent_folder(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name / "0_cunet", "last") for name in ("monday", "tuesday")]
    found = load_models([str(run) for run in runs])
    assert [model.name for model in found] == ["monday_0_cunet", "tuesday_0_cunet"]
    files = load_models([str(runs[0] / "checkpoints" / "last.ckpt"), str(run_folder(tmp_path / "b", "last"))])
    assert [model.name for model in files] == ["last", "b"]
    assert found[0].sha256 != found[1].sha256


def test_a_name_gets_as_many_parent_folders_as_make_it_unique(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name / "rates" / "0_cunet", "last") for name in ("monday", "tuesday")]
    found = load_models([str(run) for run in (*runs, run_folder(tmp_path / "other", "last"))])
    assert [model.name for model in found] == ["monday_rates_0_cunet", "tuesday_rates_0_cunet", "other"]
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        save_checkpoint(CUNet(width=2), tmp_path / folder / "best.ckpt")
    files = load_models([str(tmp_path / folder / "best.ckpt") for folder in ("one", "other")])
    assert [model.name for model in files] == ["one_best", "other_best"]
    assert unique_names([("run",), ("old", "run")]) == ["run", "old_run"]
    for suffix in ("ckpt", "pt"):
        save_checkpoint(CUNet(width=2), tmp_path / f"twin.{suffix}")
    with pytest.raises(UserError, match="same name, twin"):
        load_models([str(tmp_path / f"twin.{suffix}") for suffix in ("ckpt", "pt")])


def test_a_checkpoint_given_twice_is_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "last")
    with pytest.raises(UserError, match="twice"):
        load_models([str(run), str(run / "checkpoints" / "last.ckpt")])
