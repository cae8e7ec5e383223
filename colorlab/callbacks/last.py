"""Last: the checkpoint that a run goes on from."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from colorlab.library_internals import metrics_to_log, save_once_per_step, validates_after_batch
from colorlab.loggers import MetricsCSV
from colorlab.models.colorizer import Colorizer


class Last(ModelCheckpoint):
    """Write `last.ckpt` after each epoch, and after every so many steps if asked.

    It is written where it holds all of the run, and nowhere else: an exception in the middle of a step
    leaves the one before.

    Args:
        dirpath: the folder of the checkpoints.
        every_n_train_steps: steps between two within an epoch; None is after epochs only.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int | None = None) -> None:
        super().__init__(
            dirpath, filename="last", enable_version_counter=False, every_n_train_steps=every_n_train_steps,
            save_on_train_epoch_end=True,
        )  # fmt: skip

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, outputs: Any, batch: Any, batch_idx: int) -> None:
        if ends_whole(trainer, batch_idx):
            super().on_train_batch_end(trainer, model, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        """The epoch's row first: Lightning logs after the checkpoint, and who is killed in between would lose it.

        Of validations it has the values in that row already; `logged_metrics` has also those of epochs before.
        """
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                row = {"epoch": trainer.current_epoch, **metrics_to_log(trainer)}
                logger.log_metrics(row, trainer.global_step - 1)
                logger.save()
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write it now, if it is not as new as that already."""
        save_once_per_step(self, trainer)


def ends_whole(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a checkpoint written after this batch holds all of the run.

    It would not hold gradients that are still accumulated; and a validation that is due after the
    batch is done to Lightning, when it resumes.
    """
    validates = trainer.is_last_batch or validates_after_batch(trainer)
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not validates
