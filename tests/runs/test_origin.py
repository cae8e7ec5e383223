"""What a run's numbers depend on, and training it again."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from colorlab.data.splits import SAMPLES
from colorlab.runs import origin
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.runs.overrides import with_reproduced_overrides
from support.commands import SMALL, train_exit_code

QUICK = (*SMALL, "trainer.limit_train_batches=2")


def test_a_job_of_a_sweep_trained_again_has_the_same_losses_and_what_differs_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, "-m", *QUICK, "seed=3", "optim.lr=0.01", "hydra.sweep.dir=sweep") == 0
    first = RunFolder("sweep/0_cunet")
    capsys.readouterr()
    assert train_exit_code(monkeypatch, f"reproduce={first.path}", "hydra.run.dir=again") == 0
    out = capsys.readouterr().out
    assert "differs from sweep/0_cunet: none that is known" in out
    assert "reproduced: the losses of all 2 epochs are those of sweep/0_cunet" in out
    again = RunFolder("again")
    assert read_metrics(again)["val/loss"] == read_metrics(first)["val/loss"]
    assert OmegaConf.load(again.config).run.group is None

    kept = first.origin()
    assert kept["seed"] == 3
    assert kept["command"].endswith("seed=3 optim.lr=0.01")
    kept["versions"]["torch"] = "1.0"
    kept["code"]["commit"] = "0" * 40
    kept["data"]["val"]["fingerprint"] = "other pictures"
    first.write_origin(kept)
    assert train_exit_code(monkeypatch, f"reproduce={first.path}", "hydra.run.dir=other", "optim.lr=1e-3") == 0
    out = capsys.readouterr().out
    for line in ("versions.torch: 1.0 then, ", f"code.commit: {'0' * 40} then, ",
                 "data.val.fingerprint: other pictures then, ", "config.optim.lr: 0.01 then, 0.001 now"):  # fmt: skip
        assert f"differs from sweep/0_cunet: {line}" in out
    assert out.count("differs from") == 4
    assert "not reproduced: val/loss of epoch 0 was " in out


def test_a_folder_that_is_no_runs_cannot_be_reproduced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert train_exit_code(monkeypatch, f"reproduce={tmp_path}") == 2
    error = capsys.readouterr().err.strip()
    assert error == f"colorlab: reproduce={tmp_path} is not the folder of a run (it has no overrides.yaml)."


def test_what_filed_a_run_is_no_part_of_it(tmp_path: Path) -> None:
    again = f"reproduce={tmp_path}"
    filed = ["sweep=optuna", "++sweep.trials=9", "sweep.trial=1", "++callbacks.pruning.warmup=0", "resume=x"]
    RunFolder(tmp_path).write_configuration({}, [*filed, "++optim.lr=1", "seed=2"])
    assert with_reproduced_overrides([again, "seed=5"]) == ["++optim.lr=1", again, "seed=5"]
    assert with_reproduced_overrides(["seed=5"]) == ["seed=5"]


def test_only_the_place_of_a_run_is_ignored_when_configurations_are_compared(tmp_path: Path) -> None:
    facts = {"code": {}, "versions": {}, "device": "cpu", "data": {}}
    one, other = (RunFolder(tmp_path / name) for name in ("plain", "übung 日本"))
    for folder in (one, other):
        folder.write_configuration({"callbacks": {"best": {"dirpath": str(folder.checkpoints.path)}}}, [])
    other.write_origin(facts)
    assert origin.differences(one, other, facts) == []
    one.write_configuration({"callbacks": {"best": {"dirpath": "elsewhere"}}}, [])
    assert origin.differences(one, other, facts) == [
        "config.callbacks.best.dirpath: RUN/checkpoints then, elsewhere now"
    ]


def test_a_class_that_has_moved_to_another_module_is_no_difference(tmp_path: Path) -> None:
    facts = {"code": {}, "versions": {}, "device": "cpu", "data": {}}
    one, other = (RunFolder(tmp_path / name) for name in ("one", "other"))
    one.write_configuration({"data": {"_target_": "colorlab.data.ColorDataModule"}}, [])
    other.write_configuration({"data": {"_target_": "colorlab.data.datamodule.ColorDataModule"}}, [])
    other.write_origin(facts)
    assert origin.differences(one, other, facts) == []


def test_the_origin_of_each_resume_is_appended(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    for command, pictures in (("first", 1), ("second", 2), ("third", 2)):
        origin.keep_origin(run, command, 0, {"train": {"photographs": pictures}})
    kept = run.origin()
    assert (kept["command"], [resumed["command"] for resumed in kept["resumed"]]) == ("first", ["second", "third"])
    assert kept["data"]["train"]["photographs"] == 1
    assert kept["data"] != kept["resumed"][0]["data"] == kept["resumed"][1]["data"]


def test_losses_that_are_no_numbers_in_both_runs_are_the_same(tmp_path: Path) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("one", "other", "third")]
    for run, last in zip(runs, ("nan", "nan", "2.0"), strict=True):
        run.path.mkdir()
        run.metrics.write_text(f"epoch,step,train/loss,val/loss\n0,9,1.0,1.5\n1,19,1.0,{last}\n")
    assert origin.same_losses(*runs[:2]) == f"reproduced: the losses of all 2 epochs are those of {runs[1].path}"
    sentence = f"not reproduced: val/loss of epoch 1 was 2.0 in {runs[2].path}, and is nan here"
    assert origin.same_losses(*runs[::2]) == sentence


def test_a_photograph_that_is_gone_is_named_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """A link to nowhere, or a file that somebody deletes once it is listed."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "photographs"
    for split, first, count in (("train", 0, 16), ("val", 16, 4)):
        (root / split).mkdir(parents=True)
        for path in sorted(SAMPLES.glob("*.jpg"))[first : first + count]:
            shutil.copy(path, root / split)
    (root / "train" / "gone.jpg").symlink_to("nowhere")
    counted = "objective=rebalanced_classification"  # by a prior, which is kept by the photographs too
    words = ("data=folder", f"data.root={root}", "data.cache=disk", counted, "hydra.run.dir=run")
    assert train_exit_code(monkeypatch, *QUICK, *words) == 0
    assert f"Left out {root}/train/gone.jpg: [Errno 2] No such file" in capsys.readouterr().out
    assert RunFolder("run").origin()["data"]["train"]["photographs"] == 17


# -- the code ----------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository of colorlab, with one commit."""
    where = tmp_path / "repository"
    (where / "colorlab").mkdir(parents=True)
    (where / "colorlab" / "__init__.py").write_text("one\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=where, check=True)
    monkeypatch.setattr(origin, "REPOSITORY", where)
    return where


def kept_code(run: RunFolder) -> dict[str, Any]:
    """Return what a run's origin says of the code."""
    origin.keep_origin(run, "command", 0, {})
    return run.origin()["code"]


def test_the_kept_changes_turn_the_commit_into_the_code_that_ran(repository: Path, tmp_path: Path) -> None:
    assert set(kept_code(RunFolder(tmp_path / "unchanged"))) == {"commit"}
    assert not (tmp_path / "unchanged" / "origin.diff").exists()
    (repository / "colorlab" / "__init__.py").write_text("one\ntwo\n")
    (repository / "colorlab" / "new.py").write_text("new\n")
    code = kept_code(RunFolder(tmp_path / "changed"))
    diff = (tmp_path / "changed" / "origin.diff").read_text()
    assert code["changed"] == ["colorlab/__init__.py", "colorlab/new.py"]
    elsewhere = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "-q", repository, elsewhere], check=True)
    subprocess.run(["git", "checkout", "-q", code["commit"]], cwd=elsewhere, check=True)
    subprocess.run(["git", "apply"], input=diff, text=True, cwd=elsewhere, check=True)
    for name in code["changed"]:
        assert (elsewhere / name).read_text() == (repository / name).read_text()


def test_code_outside_a_repository_of_its_own_is_called_that(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Installed into an environment that lies in somebody's repository, say."""
    inside = repository / ".venv" / "site-packages"
    (inside / "colorlab").mkdir(parents=True)
    (inside / "colorlab" / "__init__.py").touch()
    monkeypatch.setattr(origin, "REPOSITORY", inside)
    code = kept_code(RunFolder(tmp_path / "run"))
    assert code == {"commit": f"none: {inside} is no git repository of colorlab"}
    assert not (tmp_path / "run" / "origin.diff").exists()


def test_the_files_are_json_that_any_program_reads(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_origin({"seed": 1}, "diff")
    assert json.loads((run.path / "origin.json").read_text()) == {"seed": 1}
    assert sorted(path.name for path in run.path.iterdir()) == ["origin.diff", "origin.json"]
