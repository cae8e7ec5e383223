"""Folders of runs from a stranger: `resume=` and `reproduce=` delete, write, read and send nothing of the user's."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from colorlab.runs.folder import RunFolder
from support.commands import SMALL, train_exit_code
from support.runs import forget_the_user

THESIS = "what a year of work has written"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The folder of a run of one epoch, which keeps the three best checkpoints."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    short = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert train_exit_code(monkeypatch, *SMALL, *short, f"hydra.run.dir={folder}") == 0
    return RunFolder(folder)


@pytest.fixture
def sent(trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the folder beside files of the user, in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.path, tmp_path / "runs" / "sent")
    for name in ("thesis.txt", "home/thesis.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(THESIS)
    run = RunFolder(tmp_path / "runs" / "sent")
    forget_the_user(run)
    return run


def listing(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder but those of the runs: names and contents, links followed."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "runs" not in file.relative_to(folder).parts
    }


def rewrite_callbacks(run: RunFolder, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the states of the ModelCheckpoints in a run's last.ckpt."""
    file = run.checkpoints.path / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    for key, state in checkpoint["callbacks"].items():
        if "best_k_models" in state:
            checkpoint["callbacks"][key] = state | change(state)
    torch.save(checkpoint, file)


def test_a_resume_deletes_nothing_that_a_checkpoint_names(
    sent: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Any
) -> None:
    """The worst of the best models is removed whenever the resumed run saves a better one, here after each epoch."""
    folder, before = sent.checkpoints.path.resolve(), listing(tmp_path)
    victims = (f"{folder}/../../../thesis.txt", f"{folder}/../../../home/thesis.ckpt", f"{tmp_path}/thesis.txt")
    best = {path: torch.tensor(1e9 + place) for place, path in enumerate(victims)}
    worst = {"kth_best_model_path": victims[-1], "kth_value": best[victims[-1]]}
    more = {"best_model_path": victims[0], "last_model_path": victims[0]}
    rewrite_callbacks(sent, lambda state: {"best_k_models": dict(best), **worst, **more})
    with tally.injecting("a checkpoint names files of the user's to be deleted", times=len(victims)):
        assert train_exit_code(monkeypatch, f"resume={sent.path}", "trainer.max_epochs=4", "test=true") == 0
        assert listing(tmp_path) == before


def attacks(tmp_path: Path) -> list[str]:
    """Return overrides that would write, read or send something of the user's."""
    node = "{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:" + str(tmp_path / "home") + "}"
    profiler = "{_target_:lightning.pytorch.profilers.SimpleProfiler,dirpath:" + str(tmp_path) + ",filename:thesis}"
    return [
        f"++callbacks.best.dirpath={tmp_path}/home", "++callbacks.last.dirpath=home", "++data.root=s3://stranger/bucket",
        f"++data.cache_dir={tmp_path}/home", f"++data.root={tmp_path}/home", "++data.roots=[home]",
        "++logger.mlflow.uri=http://127.0.0.1:1", "++logger.wandb.entity=stranger", f"++logger.csv.folder={tmp_path}",
        f"++logger.evil={node}", f"++trainer.profiler={profiler}", f"++trainer.default_root_dir={tmp_path}/home",
        "++objective={_target_:colorlab.study.database.StudyDatabase,path:thesis.txt}", "++model.weights=thesis.txt",
        "++callbacks.x._target_=lightning.pytorch.callbacks.ModelCheckpoint", "++objective.prior=home/prior.npz",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["resume", "reproduce"])
def test_what_names_files_addresses_or_classes_is_shown_and_not_repeated(
    word: str, sent: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Any, capsys: Any
) -> None:
    before = listing(tmp_path)
    harmless = sent.overrides()
    assert harmless
    for override in attacks(tmp_path)[(word == "resume") :: tally.times(4, 1)]:
        with tally.injecting("the saved overrides of a run folder name files, addresses or classes"):
            sent.write_configuration(sent.configuration(), [*harmless, override])
            forget_the_user(sent)
            assert train_exit_code(monkeypatch, f"{word}={sent.path}") == 2
            assert override.removeprefix("++").partition("{")[0] in capsys.readouterr().err
            assert listing(tmp_path) == before
            assert not (tmp_path / "mlflow.db").exists()


def test_links_of_a_run_folder_lead_to_nothing_of_the_users(
    sent: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Any, capsys: Any
) -> None:
    """Each of these files would be written, appended to or emptied by a resumed run."""
    before = listing(tmp_path)
    for name in (
        ".lock",
        "train.log",
        "metrics.csv",
        "tensorboard/hparams.yaml",
        "comparison",
        "checkpoints/last.ckpt",
    ):
        link = sent.path / name
        link.parent.mkdir(exist_ok=True)
        kept = link.rename(tmp_path / "runs" / "kept") if link.exists() else None
        link.symlink_to(tmp_path / "home" if name == "comparison" else tmp_path / "home" / "thesis.ckpt")
        with tally.injecting("a link in a run folder leads out of it"):
            assert train_exit_code(monkeypatch, f"resume={sent.path}") == 2
            assert "outside of the run's folder" in capsys.readouterr().err
            assert listing(tmp_path) == before
        link.unlink()
        if kept:
            kept.rename(link)


def test_a_node_makes_only_what_its_argument_wants(
    sent: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Any, capsys: Any
) -> None:
    """Classes of colorlab that open files, in places whose type is not told, from a configuration file."""
    before = listing(tmp_path)
    (tmp_path / "runs" / "mine" / "experiment").mkdir(parents=True)
    node = "{_target_: colorlab.study.database.StudyDatabase, path: thesis.sqlite}"
    places = ("logger: {tensorboard: {flush_secs: NODE}}", "objective: NODE", "trainer: {profiler: NODE}",
              "data: {augment: NODE}", "callbacks: {x: NODE}")  # fmt: skip
    for place in places[:: tally.times(3, 1)]:
        text = f"# @package _global_\n{place.replace('NODE', node)}\n"
        (tmp_path / "runs" / "mine" / "experiment" / "evil.yaml").write_text(text)
        words = ("--config-dir=runs/mine", *SMALL, "logger=tensorboard", "experiment=evil", "hydra.run.dir=runs/new")
        with tally.injecting("a node of a configuration makes something else than its place needs"):
            assert train_exit_code(monkeypatch, *words) == 2
            assert "does not make what belongs here" in capsys.readouterr().err
            assert listing(tmp_path) == before
