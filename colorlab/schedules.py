"""Schedules: factors of the base learning rate and weight decay over the epochs.

A schedule is a function of the epoch without state, so nothing of it is saved in checkpoints.
`epoch` is fractional: 2.5 is the middle of the third epoch.
"""

import math
from typing import Protocol, runtime_checkable

from colorlab.errors import UserError

Stages = list[tuple[int, float]]
"""Pairs of an epoch and the factor from that epoch on."""


@runtime_checkable
class Schedule(Protocol):
    """The factors that a Colorizer multiplies its base learning rate and weight decay by."""

    def lr_factor(self, epoch: float) -> float: ...

    def weight_decay_factor(self, epoch: float) -> float: ...


class Constant:
    """The base values in all epochs."""

    def lr_factor(self, epoch: float) -> float:
        return 1.0

    def weight_decay_factor(self, epoch: float) -> float:
        return 1.0


class Staged:
    """Factors that change at given epochs.

    Args:
        lr: pairs of an epoch and the learning rate's factor from it on: `[(0, 1.0), (100, 0.2), (200, 0.1)]`.
        weight_decay: the same for the weight decay.
        warmup: number of epochs at the start in which the learning rate rises linearly from 0.

    Raises:
        UserError: the stages do not begin at epoch 0, or their epochs do not rise.
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
        return _factor_at(self.lr, epoch) * _warmup_factor(epoch, self.warmup)

    def weight_decay_factor(self, epoch: float) -> float:
        return _factor_at(self.weight_decay, epoch)


class Cosine:
    """A linear warm-up of the learning rate, then half a cosine from 1 to `final`; a constant weight decay.

    Args:
        epochs: number of epochs, the warm-up included.
        warmup: number of epochs in which the learning rate rises linearly from 0.
        final: the factor at the end and after it.

    Raises:
        UserError: the warm-up is not shorter than `epochs`.

    Source: Loshchilov & Hutter 2017, "SGDR", equation 5, without restarts.
    """

    def __init__(self, epochs: float, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < epochs:
            raise UserError(f"schedule.warmup={warmup:g} must be at least 0 and below schedule.epochs={epochs:g}.")
        self.epochs, self.warmup, self.final = epochs, warmup, final

    def lr_factor(self, epoch: float) -> float:
        if epoch < self.warmup:
            return _warmup_factor(epoch, self.warmup)
        done = min(1.0, (epoch - self.warmup) / (self.epochs - self.warmup))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

    def weight_decay_factor(self, epoch: float) -> float:
        return 1.0


def _factor_at(stages: Stages, epoch: float) -> float:
    return next(factor for start, factor in reversed(stages) if start <= epoch)


def _warmup_factor(epoch: float, warmup: float) -> float:
    return min(1.0, epoch / warmup) if warmup else 1.0
