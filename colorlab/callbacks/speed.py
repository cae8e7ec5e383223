"""Speed: how many photographs a second are learned from."""

import time

import torch
from lightning import Callback, Trainer

from colorlab.models.colorizer import ColorBatch, Colorizer


class Speed(Callback):
    """Log `speed/images_per_second` over each training epoch, waiting for data included.

    Counted over all processes; validation is not part of it.
    """

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Begin to count; a run that resumes within an epoch begins here and not at an epoch's start."""
        self._started, self._pictures = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: object, batch: ColorBatch, batch_idx: int
    ) -> None:
        self._pictures += len(batch.L) * trainer.world_size
        speed = self._pictures / (time.perf_counter() - self._started)
        if model.shows_progress(batch_idx):
            model.log("images/s", torch.tensor(speed), prog_bar=True, logger=False)  # a float would go to the device
        if trainer.is_last_batch:
            model.log("speed/images_per_second", speed, on_step=False, on_epoch=True)

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        self.on_train_start(trainer, model)
