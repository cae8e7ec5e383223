"""The command that counts colors, in a process of its own."""

from pathlib import Path

import pytest

from colorlab.data import ColorDataModule
from colorlab.data.color_histogram import cached_prior, read_prior
from support.commands import run_command


def test_the_command_saves_and_draws_the_prior_that_training_computes(tmp_path: Path) -> None:
    done = run_command("prior", "data.size=32", "data.workers=1", "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "prior: out/prior.npz (train with it: objective.prior=out/prior.npz)" in done.stdout
    assert (tmp_path / "out" / "prior.png").exists()
    data = ColorDataModule(size=32, val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
    own = read_prior(cached_prior(data))
    assert read_prior(tmp_path / "out" / "prior.npz").tolist() == pytest.approx(own.tolist())


def test_a_mistake_is_reported_in_one_sentence(tmp_path: Path) -> None:
    done = run_command("prior", "data=folder", "data.root=/nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("colorlab: data.root=/nowhere is missing")
    assert "Traceback" not in done.stderr
    done = run_command("prior", "data._target_=colorlab.models.CUNet", cwd=tmp_path)
    assert done.returncode == 2
    assert "CUNet does not make what belongs here: of type LightningDataModule" in done.stderr
    (tmp_path / "list.csv").write_text("path,split\na.jpg,test\n")
    done = run_command("prior", "data=folder", "data.root=list.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("colorlab: data.root=list.csv has no photographs for traini")
