"""`last.ckpt` and the rows of metrics.csv, in real trainings that validate at unusual steps."""

import logging
import signal
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from colorlab.callbacks.checkpoints import FiniteCheckpoint, Last, OwnFiles, with_own_files
from colorlab.callbacks.disk import AtomicCheckpointIO
from colorlab.callbacks.interruption import GracefulStop
from colorlab.data.batch import Batch
from colorlab.errors import Interrupted
from colorlab.loggers import MetricsCSV
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.schedules import Constant

BATCH = Batch(torch.full((1, 1, 16, 16), 50.0), torch.zeros(1, 2, 16, 16), torch.tensor([0]))
TEN, ONE = DataLoader([BATCH] * 10, None), DataLoader([BATCH], None)


class StopInStep(Callback):
    """Requests a stop in a given step, and records after which steps validation runs."""

    def __init__(self, stopping: GracefulStop, step: int | None) -> None:
        self.stopping, self.step = stopping, step
        self.validated: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step + 1 == self.step:
            self.stopping.requested = signal.SIGTERM

    def on_validation_start(self, trainer: Trainer, model: CUNet) -> None:
        self.validated.append(trainer.global_step)


def fit(folder: Path, epochs: int, step: int | None = None, **settings: object) -> list[int]:
    """Train or resume, optionally until a stop in a given step; return after which steps validation ran."""
    torch.manual_seed(0)
    model, stopping, last = CUNet(width=2), GracefulStop(), folder / "last.ckpt"
    model.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())
    recorder = StopInStep(stopping, step)
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, logger=MetricsCSV(str(folder)), accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[recorder, Last(str(folder)), stopping], **settings,
    )  # fmt: skip
    try:
        trainer.fit(model, TEN, ONE, ckpt_path=last if last.exists() else None, weights_only=True)
    except Interrupted:
        assert step is not None
    return recorder.validated


def test_a_resumed_run_validates_after_the_same_steps_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """Every seven steps across epochs. A checkpoint between a step and its validation would lose the validation."""
    settings, uninterrupted = {"check_val_every_n_epoch": None, "val_check_interval": 7}, tmp_path / "uninterrupted"
    assert fit(uninterrupted, 3, **settings) == [7, 14, 21, 28]
    for step in (5, 14):
        folder = tmp_path / str(step)
        assert fit(folder, 3, step, **settings) + fit(folder, 3, **settings) == [7, 14, 21, 28]
        assert RunFolder(folder).metrics.read_text() == RunFolder(uninterrupted).metrics.read_text()


def test_a_row_of_metrics_csv_holds_only_values_of_its_epoch(tmp_path: Path) -> None:
    fit(tmp_path, 4, check_val_every_n_epoch=2)
    metrics = read_metrics(RunFolder(tmp_path))
    assert list(metrics["train/loss"]) == [0, 1, 2, 3]
    assert list(metrics["val/loss"]) == [1, 3]


# -- the files of a resumed run ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of checkpoints, with a link to another one."""
    for name in ("run/checkpoints", "home", "moved"):
        (tmp_path / name).mkdir(parents=True)
        for letter in "abc":
            (tmp_path / name / f"{letter}.ckpt").touch()
    (tmp_path / "run/checkpoints/link").symlink_to(tmp_path / "home")
    return tmp_path / "run/checkpoints"


def state_of(folder: Path, *names: str) -> dict:
    paths = [str(folder / name) for name in names]
    return {
        "dirpath": str(folder), "best_k_models": {path: torch.tensor(1.0) for path in paths}, "best_model_score": 1,
        "best_model_path": paths[0], "kth_best_model_path": paths[-1], "last_model_path": paths[0],
    }  # fmt: skip


def test_the_state_of_an_own_run_stays_as_it_is(folder: Path) -> None:
    state = state_of(folder, "a.ckpt", "epoch=3/b.ckpt", "removed.ckpt")
    assert with_own_files(state, str(folder)) == state
    first = state | {"kth_best_model_path": "", "best_model_path": "", "last_model_path": ""}
    assert with_own_files(first, str(folder)) == first
    store = {**state_of(Path("x"), "a"), "dirpath": "s3://b/c", "best_k_models": {"s3://b/c/a.ckpt": 1},
             "kth_best_model_path": "s3://b/c/a.ckpt"}  # fmt: skip
    assert with_own_files(store, "s3://b/c") == store | {"best_model_path": "", "last_model_path": ""}


def test_a_moved_run_keeps_its_best_checkpoints(folder: Path, tmp_path: Path) -> None:
    state = state_of(Path("/elsewhere/checkpoints"), "a.ckpt", "removed.ckpt", "b.ckpt")
    assert with_own_files(state, str(folder)) == state_of(folder, "a.ckpt", "b.ckpt")


@pytest.mark.parametrize("dirpath", ["run/checkpoints", "home", ""])
@pytest.mark.parametrize(
    "name",
    [
        "{here}/home/a.ckpt",
        "{own}/../../home/a.ckpt",
        "{own}/link/a.ckpt",
        "../../home/a.ckpt",
        "{own}/x/../../a",
        "..",
    ],
)
def test_a_state_names_nothing_outside_of_the_callbacks_folder(
    folder: Path, tmp_path: Path, dirpath: str, name: str
) -> None:
    path = name.format(here=tmp_path, own=folder)
    state = state_of(folder, "a.ckpt") | {
        "dirpath": str(tmp_path / dirpath) if dirpath else None, "best_k_models": {path: torch.tensor(9.0)},
        "best_model_path": path, "kth_best_model_path": path, "last_model_path": path,
    }  # fmt: skip
    own = with_own_files(state, str(folder))
    for named in (*own["best_k_models"], own["best_model_path"], own["kth_best_model_path"], own["last_model_path"]):
        assert named == "" or Path(named).resolve().parent == folder
    assert own["dirpath"] == str(folder)


@pytest.mark.parametrize(
    "change", [{"best_k_models": ["a"]}, {"best_model_path": 7}, {"last_model_path": "a\0b"}, {"dirpath": 3.5}, None]
)
def test_a_state_of_another_shape_is_left_out(folder: Path, change: dict | None) -> None:
    best = FiniteCheckpoint(folder, monitor="val/loss")
    trainer = Trainer(callbacks=[best], logger=False, accelerator="cpu")
    state = 3 if change is None else state_of(folder, "a.ckpt") | change
    checkpoint = {"callbacks": {best.state_key: state, "Other": {"a": 1}}}
    OwnFiles().on_load_checkpoint(trainer, CUNet(width=2), checkpoint)
    assert checkpoint["callbacks"].pop("Other") == {"a": 1}
    if checkpoint["callbacks"][best.state_key]:
        best.load_state_dict(checkpoint["callbacks"][best.state_key])
    assert Path(best.best_model_path).parent in (folder, Path())


def test_nothing_is_deleted_outside_of_the_folders_of_checkpoints(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    io = AtomicCheckpointIO()
    io.writers = [FiniteCheckpoint(folder, monitor="val/loss")]
    with caplog.at_level(logging.WARNING):
        for path in (tmp_path / "home/a.ckpt", folder / "../../home/a.ckpt", folder / "link/a.ckpt"):
            io.remove_checkpoint(path)
    assert (tmp_path / "home/a.ckpt").exists()
    assert caplog.text.count("is not deleted") == 3
    io.remove_checkpoint(folder / "a.ckpt")
    assert not (folder / "a.ckpt").exists()
