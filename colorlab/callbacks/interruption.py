"""Interruption: a training that a signal asks to stop does so between two steps, and can be resumed from there."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lightning import Callback, Trainer

from colorlab.callbacks.checkpoints import Last, can_resume_after
from colorlab.errors import Interrupted
from colorlab.models.colorizer import Colorizer
from colorlab.process.ranks import is_first_process
from colorlab.process.signals import handling_signals
from colorlab.runs.status import Status

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Ends a process at once; Windows has no SIGKILL, and there SIGTERM does it."""


class GracefulStop(Callback):
    """Stop a training on request where a checkpoint can be resumed from, and write `last.ckpt` there.

    A request during a validation takes effect at its end, since Lightning cannot resume within a validation. Outside
    of a training a request takes effect at once. This callback must be called after all others, so that the checkpoint
    holds what they did in the step.

    Args:
        agree_every: number of steps between two agreements of several processes to stop, since signals reach them
            at different times.
    """

    def __init__(self, agree_every: int = 8) -> None:
        self.agree_every = agree_every
        self.requested: int | None = None  # the signal
        self.training = False
        self._process_id = os.getpid()

    def stop_reason(self) -> Interrupted:
        """Return the exception that stops the run; another process may have received the signal."""
        return Interrupted(self.requested or signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        self.training = True

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batch_idx // trainer.accumulate_grad_batches
        if can_resume_after(trainer, batch_idx) and (trainer.world_size == 1 or step % self.agree_every == 0):
            self._stop_if_requested(trainer, save=True)

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Stop after an epoch, whose end has written `last.ckpt`."""
        self._stop_if_requested(trainer)

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._stop_if_requested(trainer)

    def on_exception(self, trainer: Trainer, model: Colorizer, exception: BaseException) -> None:
        """Note the end of the training; Lightning calls this in place of `teardown`."""
        self.training = False

    def teardown(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        """Stop if requested since the end of the training, for example while its curves were drawn."""
        self.training = False
        self._stop_if_requested(trainer)

    def _stop_if_requested(self, trainer: Trainer, save: bool = False) -> None:
        """Stop all processes if a stop was requested in one of them.

        Raises:
            Interrupted: it was.
        """
        if not trainer.strategy.reduce_boolean_decision(self.requested is not None, all=False):
            return
        for callback in trainer.checkpoint_callbacks if save else ():
            if isinstance(callback, Last):
                callback.save(trainer)
        raise self.stop_reason()

    def handle_signal(self, number: int, frame: object) -> None:
        """Handle a signal in the process that created the callback; forks inherit the handler and ignore it."""
        if os.getpid() == self._process_id:
            self.request_stop(number)

    def request_stop(self, number: int) -> None:
        """Stop the training at the next opportunity because of a signal; outside of a training, at once."""
        if self.requested is None:
            self.requested = number
            if not self.training:
                raise self.stop_reason()


class Interruption(GracefulStop):
    """Stop on SIGTERM, SIGHUP or Ctrl-C; exit at once on a second one.

    Args:
        status: the run's status, which is written before an immediate exit.
    """

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status = status
        self.trainer: Trainer | None = None  # knows the other processes

    def handling_signals(self) -> AbstractContextManager[None]:
        """Return a context within which this handles the signals that ask a command to stop."""
        return handling_signals(self.handle_signal)

    @contextmanager
    def reporting_stop(self) -> Iterator[None]:
        """If the block fails after a stop was requested, report the stop.

        Raises:
            Interrupted: in place of the failure.
        """
        try:
            yield
        except Exception as error:
            if self.requested is None:
                raise
            raise self.stop_reason() from error

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Replace Lightning's handler of SIGTERM, which would stop within a validation."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handle_signal)
        self.trainer = trainer
        super().on_train_start(trainer, model)

    def request_stop(self, number: int) -> None:
        if self.requested is not None:
            self._exit_now(Interrupted(self.requested))
        super().request_stop(number)
        _print(Interrupted(number), "stops after this step, or validation, and saves; once more leaves at once")

    def _exit_now(self, interrupted: Interrupted) -> None:
        self.status.end("interrupted", type(interrupted).__name__, f"{interrupted.reason}, twice")
        _print(interrupted, "left at once")
        if self.trainer is not None and self.trainer.strategy.launcher is not None:
            self.trainer.strategy.launcher.kill(KILL)
        assert isinstance(interrupted.code, int)
        os._exit(interrupted.code)


def _print(interrupted: Interrupted, what: str) -> None:
    if is_first_process():
        print(f"colorlab: {interrupted.reason}: {what}.", file=sys.stderr, flush=True)
