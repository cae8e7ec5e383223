"""Progress: how far a training is, how long it will take, and what would make it faster."""

import logging

from lightning import Trainer

from colorlab.callbacks.bars import LoopBars
from colorlab.callbacks.pace import Pace, duration
from colorlab.models.colorizer import ColorBatch, Colorizer

ESTIMATED_AFTER = 5
"""Timed steps after which the duration of the training is told."""

WORTH_TELLING = 60
"""Seconds that a training must take for its duration to be told."""

LONG = 600
"""Seconds from which on it is also told what would be faster."""

SHOWN = {"train/loss": "loss {:.4g}", "val/loss": "validation {:.4g}", "val/psnr": "PSNR {:.2f} dB"}

_log = logging.getLogger(__name__)


class Progress(LoopBars):
    """Show a bar on a terminal, and log one line per epoch, on the screen and in `train.log`.

    After the first steps, a line tells how long an epoch and the whole training will take and, if that is long, what
    would be faster on this machine. Epochs are counted from 1, as people do.

    Args:
        refresh_rate: updates of the bar per second.
        leave: whether the bar of a finished loop stays on the screen.
    """

    def __init__(self, refresh_rate: float = 1.0, leave: bool = False) -> None:
        super().__init__(refresh_rate, leave)
        self._complete, self._validated, self._estimated = "", False, False

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._pace = Pace(trainer)

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._log_epoch(trainer)
        self._pace.begin_epoch()

    def on_train_batch_start(self, trainer: Trainer, model: Colorizer, batch: ColorBatch, batch_idx: int) -> None:
        self._pace.begin_step()
        self._bar.open(_epoch(trainer), self.total_train_batches)

    def on_train_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: object, batch: ColorBatch, batch_idx: int
    ) -> None:
        self._pace.end_step(len(batch.L))
        if not self._estimated and self._pace.steps == ESTIMATED_AFTER:
            self._estimated = True
            self._tell_estimate(model, batch_idx + 1)
        self._bar.advance(batch_idx + 1)
        if self._bar.shown and model.shows_progress(batch_idx):
            loss = trainer.progress_bar_metrics.get("loss")
            self._bar.show([*self._speed(batch_idx + 1), *([f"loss {loss:.4g}"] if loss is not None else [])])

    def on_train_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        """Note that the epoch is complete; its line is logged later, because the model logs its losses after this."""
        self._complete = _epoch(trainer)
        self._pace.end_epoch()
        self._bar.close()

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._log_epoch(trainer)

    def on_validation_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._validated = True
        self._bar.close()

    def _log_epoch(self, trainer: Trainer) -> None:
        """Log the line of the epoch that is complete, if there is one."""
        if self._complete and self._bar.enabled:
            metrics = trainer.callback_metrics
            names = [name for name in SHOWN if name in metrics and (self._validated or name.startswith("train/"))]
            parts = [SHOWN[name].format(metrics[name]) for name in names]
            parts.append(f"lr {trainer.optimizers[0].param_groups[0]['lr']:.3g}")
            _log.info("%s: %s", self._complete, ", ".join([*parts, *self._speed(0)]))
        self._complete, self._validated = "", False

    def _speed(self, done: float) -> list[str]:
        """Return the speed and the time left, as far as they are known."""
        if not self._pace.steps:
            return []
        left = self._pace.seconds_left(done)
        return [f"{self._pace.photographs_per_second:.3g} images/s", *([f"{duration(left)} left"] if left else [])]

    def _tell_estimate(self, model: Colorizer, done: int) -> None:
        epoch, left = self._pace.epoch_seconds(), self._pace.seconds_left(done)
        if not self._bar.enabled or epoch is None or left is None or left < WORTH_TELLING:
            return
        self._bar.close()
        _log.info("An epoch takes about %s, the training about %s.", duration(epoch), duration(left))
        if left > LONG and (ways := self._faster(model)):
            _log.info("Faster: %s.", "; ".join(ways))

    def _faster(self, model: Colorizer) -> list[str]:
        """Return what would make the training faster on this machine."""
        ways = []
        if self._pace.waiting > 0.2:
            share = f"{self._pace.waiting:.0%} of the time is spent waiting for photographs"
            ways.append(f"data.cache=disk or another data.workers=N ({share})")
        if model.device.type != "cpu":
            return ways if model.compile_network else [*ways, "model.compile=true"]
        if model.title != "unet":
            ways.append("model=unet (its encoder is trained already)")
        return [*ways, "data.size=128 (smaller pictures)", "trainer.max_epochs=N (fewer epochs)"]


def _epoch(trainer: Trainer) -> str:
    """Return the number of the current epoch, from 1, and that of the last one if it is known."""
    last = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}{f'/{last}' if last and last > 0 else ''}"
