"""Checkpoints: the best epochs, and the newest state to resume from."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from colorlab.errors import reason_of
from colorlab.library_internals import metrics_to_log, save_once_per_step, validates_after_batch
from colorlab.loggers import MetricsCSV
from colorlab.models.colorizer import Colorizer

log = logging.getLogger(__name__)


class FiniteCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that never ranks a NaN or infinite value among the best, not even the first one."""

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        finite = current is not None and bool(torch.as_tensor(current).isfinite())
        return finite and super().check_monitor_top_k(trainer, current)


class Last(ModelCheckpoint):
    """Write `last.ckpt`, the checkpoint to resume from, after each epoch and optionally within epochs.

    It is written only between two steps. An exception within a step leaves the previous file in place.

    Args:
        dirpath: the folder of the checkpoints.
        every_n_train_steps: steps between two checkpoints within an epoch; None writes after epochs only.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int | None = None) -> None:
        super().__init__(
            dirpath, filename="last", enable_version_counter=False, every_n_train_steps=every_n_train_steps,
            save_on_train_epoch_end=True,
        )  # fmt: skip

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, outputs: Any, batch: Any, batch_idx: int) -> None:
        if can_resume_after(trainer, batch_idx):
            super().on_train_batch_end(trainer, model, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        """Write the epoch's row of metrics.csv, then the checkpoint.

        Lightning would log after the checkpoint, and a process killed in between would lose the row: the resumed run
        begins after it. A validation's metrics are in the row already.
        """
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                row = {"epoch": trainer.current_epoch, **metrics_to_log(trainer)}
                logger.log_metrics(row, trainer.global_step - 1)
                logger.save()
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint now, unless it has already been written after this step."""
        save_once_per_step(self, trainer)


def can_resume_after(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a checkpoint written after this batch can be resumed to the same result.

    It cannot while gradients are accumulated, which are not saved, nor if a validation follows, which Lightning
    takes for done when it resumes.
    """
    validates = trainer.is_last_batch or validates_after_batch(trainer)
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not validates


class OwnFiles(Callback):
    """Keep each ModelCheckpoint of a resumed run to the files in its own folder, whatever the checkpoint names.

    A stranger may have written the checkpoint, and Lightning removes files that the state of a ModelCheckpoint names.
    If a run's folder was moved, the files with the same names in the new place are taken.
    """

    def on_load_checkpoint(self, trainer: Trainer, model: Colorizer, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("callbacks", {})
        for callback in checkpoint_callbacks(trainer):
            for key in (callback.state_key, type(callback)):  # Lightning's key, and that of its old versions
                if key not in states:
                    continue
                try:
                    states[key] = with_own_files(states[key], str(callback.dirpath))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    states[key] = {}
                    log.warning("The checkpoint does not say which checkpoints are the best (%s).", reason_of(error))


def checkpoint_callbacks(trainer: Trainer) -> Iterator[ModelCheckpoint]:
    """Yield the ModelCheckpoints of a Trainer."""
    yield from (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))


def with_own_files(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the state of a ModelCheckpoint with only those files that are in its folder.

    Args:
        state: what its `state_dict` returned, maybe in another folder.
        folder: where the callback writes now.
    """
    before = str(state.get("dirpath") or folder)

    def own(name: str) -> str:
        return _moved(name, before, folder) if name else ""

    best = {own(name): value for name, value in state["best_k_models"].items()}
    best = {name: value for name, value in best.items() if name and (before == folder or os.path.exists(name))}
    kth = own(state["kth_best_model_path"])
    return state | {
        "dirpath": folder, "best_k_models": best, "kth_best_model_path": kth if kth in best else "",
        "best_model_path": own(state["best_model_path"]), "last_model_path": own(state["last_model_path"]),
    }  # fmt: skip


def _moved(name: str, before: str, folder: str) -> str:
    """Return where a file is now that was in the folder `before`; "" if that is not in `folder`."""
    if "://" in folder:  # an object store
        return name if name.startswith(f"{folder}/") and ".." not in name else ""
    inside = os.path.relpath(name, before) if Path(name).is_relative_to(before) else Path(name).name
    path = os.path.join(folder, inside)
    return path if is_inside(path, folder) else ""


def is_inside(file: str | Path, folder: str | Path) -> bool:
    """Return whether a file is in a folder, with links and `..` followed, but the file's own link is not."""
    file = Path(file)
    return file.name != ".." and file.parent.resolve().is_relative_to(Path(folder).resolve())
