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
from colorlab.status import Status, is_first_process


class Stopping(Callback):
    """Stop, once asked, where a checkpoint holds all of the run, and write `last` there.

    In a validation that is its end: half a validation cannot be gone on with.

    Args:
        agree_every: batches between two agreements of several processes; not all are asked at once.
    """

    def __init__(self, agree_every: int = 8) -> None:
        self.agree_every = agree_every
        self.asked: int | None = None

    def reason(self) -> Interrupted:
        """What is raised in the end; `asked` is the signal, or None where another process got it."""
        return Interrupted(self.asked or signal.SIGTERM)

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, outputs: Any, batch: Any, batch_idx: int) -> None:
        if ends_whole(trainer, batch_idx) and (trainer.world_size == 1 or batch_idx % self.agree_every == 0):
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        """After an epoch, whose end has written `last`."""
        self._stop(trainer, save=False)

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._stop(trainer, save=False)

    def _stop(self, trainer: Trainer, save: bool = True) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            return
        for callback in trainer.checkpoint_callbacks if save else ():
            if isinstance(callback, Last):
                callback.save(trainer)
        raise self.reason()


class Interruption(Stopping):
    """On SIGTERM or Ctrl-C, stop; outside a training at once, and at the second one always.

    Args:
        status: told when there is no time for anything else.
    """

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status, self.process = status, os.getpid()
        self.trainer: Trainer | None = None  # while it trains

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

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Take Lightning's handler out, which would stop in the middle of a validation."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._hear)
        self.trainer = trainer

    def teardown(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        self.trainer = None

    def _hear(self, number: int, _: Any) -> None:
        if os.getpid() != self.process:  # a fork of this one
            return
        again, self.asked = self.asked is not None, self.asked or number
        if self.trainer is None and not again:
            raise Interrupted(number)
        if again:
            self._leave_now()
        self._say("stops after this step, or validation, and saves; once more leaves at once")

    def _leave_now(self) -> None:
        left = Interrupted(self.asked)
        self.status.end("interrupted", type(left).__name__, f"{left.reason}, twice")
        self._say("left at once")
        if self.trainer is not None and self.trainer.strategy.launcher is not None:
            self.trainer.strategy.launcher.kill(signal.SIGKILL)
        os._exit(left.code)

    def _say(self, what: str) -> None:
        if is_first_process():
            print(f"colorlab: {Interrupted(self.asked).reason}: {what}.", file=sys.stderr, flush=True)
