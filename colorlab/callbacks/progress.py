"""Progress: Lightning's progress bar, looked at no more often than a person can read."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """A `RichProgressBar` whose numbers are read at most `refresh_rate` times a second in training.

    Lightning reads them after each step, and draws the bar: that takes as long as a step of a fast GPU.

    Args:
        refresh_rate: how often a second it is drawn.
        leave: whether the bar of a finished epoch stays.
    """

    def __init__(self, refresh_rate: int = 5, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._drawn = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, model: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if trainer.is_last_batch or (self.is_enabled and now - self._drawn >= 1 / self.refresh_rate):
            self._drawn = now
            super().on_train_batch_end(trainer, model, outputs, batch, batch_idx)
