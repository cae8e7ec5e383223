"""Interruption: a training that is told to leave stops between two steps, and can go on from there."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning import Callback, Trainer

from colorlab.callbacks.last import Last, ends_whole
from colorlab.errors import Interrupted
from colorlab.models.colorizer import Colorizer
from colorlab.runs.status import Status, is_first_process

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""On Windows, which has no SIGKILL, SIGTERM cannot be heard and ends a process at once."""


class Stopping(Callback):
    """Stop, once asked, where a checkpoint holds all of the run, and write `last` there; outside a training at once.

    In a validation that is its end: half a validation cannot be gone on with. Of all callbacks these are
    to be called last, so that the checkpoint knows what the others make of the step.

    Args:
        agree_every: steps between two agreements of several processes; not all are asked at once.
    """

    def __init__(self, agree_every: int = 8) -> None:
        self.agree_every, self.process = agree_every, os.getpid()
        self.asked: int | None = None
        self.trains = False

    def reason(self) -> Interrupted:
        """What is raised in the end; `asked` is the signal, or None where another process got it."""
        return Interrupted(self.asked or signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        self.trains = True

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = batch_idx // trainer.accumulate_grad_batches
        if ends_whole(trainer, batch_idx) and (trainer.world_size == 1 or step % self.agree_every == 0):
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        """After an epoch, whose end has written `last`."""
        self._stop(trainer, save=False)

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._stop(trainer, save=False)

    def on_exception(self, trainer: Trainer, model: Colorizer, exception: BaseException) -> None:
        """Lightning calls this in place of `teardown`."""
        self.trains = False

    def teardown(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        """Who was asked after the training's end, while its curves were drawn, say, is heeded here."""
        self.trains = False
        self._stop(trainer, save=False)

    def _stop(self, trainer: Trainer, save: bool = True) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            return
        for callback in trainer.checkpoint_callbacks if save else ():
            if isinstance(callback, Last):
                callback.save(trainer)
        raise self.reason()

    def _hear(self, number: int, _: Any) -> None:
        """A signal's handler; forks of this process, which have it too, are not meant."""
        if os.getpid() == self.process:
            self._ask(number)

    def _ask(self, number: int) -> None:
        if self.asked is None:
            self.asked = number
            if not self.trains:
                raise self.reason()


class Interruption(Stopping):
    """On SIGTERM or Ctrl-C, stop; at the second one at once.

    Args:
        status: told when there is no time for anything else.
    """

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status = status
        self.trainer: Trainer | None = None  # whose other processes are to leave, too

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Around all that a run does."""
        if threading.current_thread() is not threading.main_thread():  # some launcher's; only the main one gets signals
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def not_forgotten(self) -> Iterator[None]:
        """Around a training: of one that was asked to leave, and failed before it could, that stays the reason."""
        try:
            yield
        except Exception as error:
            if self.asked is None:
                raise
            raise self.reason() from error

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Take Lightning's handler out, which would stop in the middle of a validation."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._hear)
        self.trainer = trainer
        super().on_train_start(trainer, model)

    def _ask(self, number: int) -> None:
        if self.asked is not None:
            self._leave_now()
        super()._ask(number)
        self._say("stops after this step, or validation, and saves; once more leaves at once")

    def _leave_now(self) -> None:
        left = Interrupted(self.asked)
        self.status.end("interrupted", type(left).__name__, f"{left.reason}, twice")
        self._say("left at once")
        if self.trainer is not None and self.trainer.strategy.launcher is not None:
            self.trainer.strategy.launcher.kill(KILL)
        os._exit(left.code)

    def _say(self, what: str) -> None:
        if is_first_process():
            print(f"colorlab: {Interrupted(self.asked).reason}: {what}.", file=sys.stderr, flush=True)
