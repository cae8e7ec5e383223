"""The folders that commands make for themselves."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from colorlab.evaluate.__main__ import main as evaluate
from colorlab.process import new_folders
from colorlab.process.new_folders import NewFolder, make_folder, remove_made_folder, remove_unused_folders


@pytest.fixture(autouse=True)
def _nothing_made_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(new_folders, "_made", {})
    monkeypatch.chdir(tmp_path)


def test_runs_that_start_in_the_same_second_get_folders_of_their_own() -> None:
    with ThreadPoolExecutor(8) as starts:
        made = list(starts.map(lambda _: make_folder(Path("runs/12-00-00_cunet"), numbered=True), range(8)))
    expected = ["12-00-00_cunet", *(f"12-00-00_cunet_{number}" for number in range(2, 9))]
    assert sorted(path.name for path in made) == sorted(os.listdir("runs")) == expected


def test_only_a_name_with_the_time_in_it_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    OmegaConf.register_new_resolver("now", lambda _: "12-00-00", replace=True)
    for name, expected in {"${now:%H}_a": "12-00-00_a_2", "chosen": "chosen", "${out}": "12-00-00_b_2"}.items():
        config = _config({"run": {"dir": name}}, out="${now:%H}_b")
        for taken in ("12-00-00_a", "chosen", "12-00-00_b"):
            Path(taken).mkdir(exist_ok=True)
        NewFolder().on_run_start(config)
        assert config.hydra.run.dir == expected
        assert Path(expected).is_dir()
    assert config.out == "12-00-00_b_2"
    config = _config({"sweep": {"dir": "${now:%H}_a"}})
    NewFolder().on_multirun_start(config)
    assert config.hydra.sweep.dir == "12-00-00_a_3"
    assert config.hydra.overrides.hydra == ["hydra.sweep.dir='12-00-00_a_3'"]
    monkeypatch.setenv("WORLD_SIZE", "2")  # the other process names the same folder
    config = _config({"run": {"dir": "${now:%H}_a"}})
    NewFolder().on_run_start(config)
    assert config.hydra.run.dir == "12-00-00_a"


def _config(hydra: dict, **others: str) -> OmegaConf:
    from hydra.conf import HydraConf

    return OmegaConf.create({"hydra": OmegaConf.merge(OmegaConf.structured(HydraConf), hydra), **others})


def test_only_what_this_process_has_made_is_removed() -> None:
    Path("runs").mkdir()
    (made := make_folder(Path("runs/day/run"))).joinpath("file").touch()
    Path("runs/chosen").mkdir()
    make_folder(Path("runs/chosen"))
    assert remove_made_folder(made)
    assert not remove_made_folder(Path("runs/chosen"))
    assert os.listdir("runs") == ["chosen"]


def test_a_folder_that_an_earlier_command_of_the_process_has_filled_is_kept() -> None:
    (made := make_folder(Path("runs/run"))).joinpath("file").touch()
    empty = make_folder(Path("runs/empty"))
    remove_unused_folders()
    assert made.is_dir()
    assert not empty.exists()
    assert not remove_made_folder(made)


def test_only_the_time_in_a_folders_own_name_makes_it_new_and_a_requeued_job_goes_back_to_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for unresolved, expected in (("${now:%Y}/baseline", [1, 1, 1]), ("${now:%Y}_a", [2, 3, 3])):
        folders = []
        for restarts in ("0", "0", "1"):
            monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
            NewFolder().on_run_start(_config({"run": {"dir": unresolved}}))
            folders.append(len(os.listdir()))
        assert folders == expected


def test_a_refused_command_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-evaluate", "checkpoint=/nowhere", "trainer=cpu", "logger=csv"])
    with pytest.raises(SystemExit, match="2"):
        evaluate()
    assert "/nowhere does not exist" in capsys.readouterr().err
    assert os.listdir() == []
