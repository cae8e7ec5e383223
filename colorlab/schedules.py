"""Learning rate and weight decay over time, as factors of their base values.

A schedule is a pure function of the epoch and keeps no state, so it survives a resume by itself.
`epoch` is fractional: 2.5 is the middle of the third epoch.
"""

import math
from typing import Protocol

from colorlab.errors import UserError

Stages = list[tuple[int, float]]
"""Pairs of an epoch and the factor in force from it on."""


class Schedule(Protocol):
    """What the Colorizer multiplies its base learning rate and weight decay with."""

    def lr_factor(self, epoch: float) -> float: ...

    def weight_decay_factor(self, epoch: float) -> float: ...


class Constant:
    """The base values, always."""

    def lr_factor(self, epoch: float) -> float:
        return 1.0

    def weight_decay_factor(self, epoch: float) -> float:
        return 1.0


class Staged:
    """Factors that change at given epochs.

    Args:
        lr: (epoch, factor from it on) pairs, `[(0, 1.0), (100, 0.2), (200, 0.1)]`.
        weight_decay: likewise.
        warmup: epochs at the start over which the learning rate rises linearly from 0.

    Raises:
        UserError: the stages do not begin at epoch 0 or their epochs do not rise.
    """

    def __init__(self, lr: Stages, weight_decay: Stages, warmup: float = 0.0) -> None:
        for name, stages in (("schedule.lr", lr), ("schedule.weight_decay", weight_decay)):
            epochs = [epoch for epoch, _ in stages]
            if epochs[:1] != [0] or epochs != sorted(set(epochs)):
                raise UserError(
                    f"{name} has stages at epochs {epochs}: the first must be 0 and each later than the one before."
                )
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup

    def lr_factor(self, epoch: float) -> float:
        return _stage(self.lr, epoch) * _rise(epoch, self.warmup)

    def weight_decay_factor(self, epoch: float) -> float:
        return _stage(self.weight_decay, epoch)


class Cosine:
    """A linear warm-up, then half a cosine from 1 down to `final` for the learning rate.

    Args:
        epochs: the length of the whole course.
        warmup: epochs over which the learning rate rises linearly from 0.
        final: the factor at the end and after it.

    Raises:
        UserError: the warm-up is not shorter than the course.

    Source: Loshchilov & Hutter 2017, "SGDR", equation 5, without restarts.
    """

    def __init__(self, epochs: float, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < epochs:
            raise UserError(f"schedule.warmup={warmup:g} must be at least 0 and below schedule.epochs={epochs:g}.")
        self.epochs, self.warmup, self.final = epochs, warmup, final

    def lr_factor(self, epoch: float) -> float:
        if epoch < self.warmup:
            return _rise(epoch, self.warmup)
        done = min(1.0, (epoch - self.warmup) / (self.epochs - self.warmup))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

    def weight_decay_factor(self, epoch: float) -> float:
        return 1.0


def _stage(stages: Stages, epoch: float) -> float:
    return next(factor for start, factor in reversed(stages) if start <= epoch)


def _rise(epoch: float, warmup: float) -> float:
    return min(1.0, epoch / warmup) if warmup else 1.0
