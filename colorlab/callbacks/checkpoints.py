"""Checkpoints: the best epochs, and the newest state to resume from."""

from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from colorlab.library_internals import metrics_to_log, save_once_per_step, validates_after_batch
from colorlab.loggers import MetricsCSV
from colorlab.models.colorizer import Colorizer


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
