"""Speed: the number of photographs per second in training."""

import time

from lightning import Callback, Trainer

from colorlab.models.colorizer import ColorBatch, Colorizer


class Speed(Callback):
    """Log `speed/images_per_second` over each training epoch, waiting for data included.

    It counts the photographs of all processes; the time of validations does not count.
    Lightning's ThroughputMonitor waits for the GPU in each step, and logs within epochs.
    """

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Start counting: a run resumed within an epoch gets no `on_train_epoch_start`."""
        self._started, self._photographs = time.perf_counter(), 0

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._started, self._photographs = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: object, batch: ColorBatch, batch_idx: int
    ) -> None:
        self._photographs += len(batch.L) * trainer.world_size
        if trainer.is_last_batch:
            speed = self._photographs / (time.perf_counter() - self._started)
            model.log("speed/images_per_second", speed, on_step=False, on_epoch=True, batch_size=len(batch.L))
