"""Pace: how fast a training goes, and how long the rest of it will take."""

import math
import time
from collections import deque
from typing import NamedTuple

from lightning import Trainer

WARM_UP = 2
"""Steps at the start that are not timed: they compile, and wait for the workers' first photographs."""

WINDOW = 50
"""The last steps, which the pace is measured on."""


class _Step(NamedTuple):
    seconds: float
    waited: float
    photographs: int


class Pace:
    """The time of a training's last steps and of its last epoch.

    Args:
        trainer: the Trainer of the training.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._steps: deque[_Step] = deque(maxlen=WINDOW)
        self._warm_up = WARM_UP
        self._epoch_seconds: float | None = None
        self.begin_epoch()

    @property
    def steps(self) -> int:
        """The number of steps that it is measured on."""
        return len(self._steps)

    @property
    def step_seconds(self) -> float:
        """The mean time of a step, waiting for its photographs included."""
        return sum(step.seconds for step in self._steps) / self.steps

    @property
    def photographs_per_second(self) -> float:
        """The speed of all processes together."""
        return sum(step.photographs for step in self._steps) / (self.step_seconds * self.steps)

    @property
    def waiting(self) -> float:
        """The share of the time in which the training waits for photographs."""
        return sum(step.waited for step in self._steps) / (self.step_seconds * self.steps)

    def begin_epoch(self) -> None:
        self._epoch_began = self._step_ended = time.perf_counter()

    def begin_step(self) -> None:
        self._step_began = time.perf_counter()

    def end_step(self, photographs: int) -> None:
        """Take the time of a step.

        Args:
            photographs: those of this process's batch.
        """
        now = time.perf_counter()
        step = _Step(now - self._step_ended, self._step_began - self._step_ended, photographs)
        self._step_ended = now
        if self._warm_up:
            self._warm_up -= 1
        else:
            self._steps.append(step._replace(photographs=photographs * self._trainer.world_size))

    def end_epoch(self) -> None:
        self._epoch_seconds = time.perf_counter() - self._epoch_began

    def epoch_seconds(self) -> float | None:
        """Return the time of the last epoch, validation included, or about that of the first one's steps."""
        batches = self._trainer.num_training_batches
        if self._epoch_seconds is not None or not self.steps or math.isinf(batches):
            return self._epoch_seconds
        return batches * self.step_seconds

    def seconds_left(self, done: float) -> float | None:
        """Return about how long the training goes on; None if that is not known.

        Args:
            done: the number of batches of this epoch that have been trained on.
        """
        trainer, epoch = self._trainer, self.epoch_seconds()
        if epoch is None or not self.steps or math.isinf(trainer.num_training_batches):
            return None
        ends = []
        if trainer.max_epochs and trainer.max_epochs > 0:
            rest = (trainer.num_training_batches - done) * self.step_seconds if done else epoch
            ends.append(rest + (trainer.max_epochs - trainer.current_epoch - 1) * epoch)
        if trainer.max_steps > 0:
            batches = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
            ends.append(batches * epoch / trainer.num_training_batches)
        return max(0.0, min(ends)) if ends else None


def duration(seconds: float) -> str:
    """Return a duration as people say it: "40 s", "12 min", "3 h 20 min", "2 d 5 h"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
