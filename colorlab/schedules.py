"""Schedules: factors of the base learning rate and weight decay over time.

A schedule is a function of time without state, so nothing of it is saved in checkpoints. Time counts in epochs, with
fractions (2.5 is the middle of the third epoch), or with schedule.unit=steps in steps of the optimizer.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from colorlab.errors import UserError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Stages = list[tuple[int, float]]
"""Pairs of a time and the factor from that time on."""


@runtime_checkable
class Schedule(Protocol):
    """The factors that a Colorizer multiplies its base learning rate and weight decay by."""

    def lr_factor(self, time: float) -> float: ...

    def weight_decay_factor(self, time: float) -> float: ...


class Constant:
    """The base values at all times."""

    def lr_factor(self, time: float) -> float:
        return 1.0

    def weight_decay_factor(self, time: float) -> float:
        return 1.0


class Staged:
    """Factors that change at given times.

    Args:
        lr: pairs of a time and the learning rate's factor from it on: `[(0, 1.0), (100, 0.2), (200, 0.1)]`.
        weight_decay: the same for the weight decay.
        warmup: time at the start in which the learning rate rises linearly from 0.

    Raises:
        UserError: the stages do not begin at 0, or their times do not rise.
    """

    def __init__(self, lr: Stages, weight_decay: Stages, warmup: float = 0.0) -> None:
        for name, stages in (("schedule.lr", lr), ("schedule.weight_decay", weight_decay)):
            times = [time for time, _ in stages]
            if times[:1] != [0] or times != sorted(set(times)):
                raise UserError(
                    f"{name} has stages at {times}: the first must be at 0 and each later than the one before."
                )
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup

    def lr_factor(self, time: float) -> float:
        return _factor_at(self.lr, time) * _warmup_factor(time, self.warmup)

    def weight_decay_factor(self, time: float) -> float:
        return _factor_at(self.weight_decay, time)


class Cosine:
    """A linear warm-up of the learning rate, then half a cosine from 1 to `final`; a constant weight decay.

    Args:
        length: time until the end, the warm-up included; None is the length of the training.
        warmup: time in which the learning rate rises linearly from 0.
        final: the factor at the end and after it.

    Raises:
        UserError: the warm-up is not shorter than `length`.

    Source: Loshchilov & Hutter 2017, "SGDR", equation 5, without restarts.
    """

    def __init__(self, length: float | None = None, warmup: float = 0.0, final: float = 0.0) -> None:
        if warmup < 0 or (length is not None and warmup >= length):
            raise UserError(f"schedule.warmup={warmup:g} must be at least 0 and below schedule.length={length}.")
        self.length, self.warmup, self.final = length, warmup, final

    def lr_factor(self, time: float) -> float:
        if time < self.warmup:
            return _warmup_factor(time, self.warmup)
        assert self.length is not None, "a training sets it when it begins"
        done = min(1.0, (time - self.warmup) / (self.length - self.warmup)) if time < self.length else 1.0
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

    def weight_decay_factor(self, time: float) -> float:
        return 1.0


class TorchSchedule:
    """The learning rates of a scheduler of torch's for a base of 1, taken as factors; a constant weight decay.

    Args:
        build: returns the scheduler of an optimizer.

    Raises:
        UserError: the scheduler follows a loss, which PlateauDecay does.
    """

    def __init__(self, build: "Callable[[Optimizer], LRScheduler]") -> None:
        self.build = build
        self.factors = self._read(1)

    def lr_factor(self, time: float) -> float:
        if time >= len(self.factors):
            self.factors = self._read(2 * int(time) + 100)
        return self.factors[int(time)]

    def weight_decay_factor(self, time: float) -> float:
        return 1.0

    def _read(self, count: int) -> list[float]:
        """Return the factors at the times 0, 1, …; after the end of the scheduler the factor stays."""
        from torch import nn, optim

        optimizer = optim.Rprop([nn.Parameter()], lr=1.0)  # without a momentum that the scheduler would change, too
        scheduler = self.build(optimizer)
        if isinstance(scheduler, optim.lr_scheduler.ReduceLROnPlateau):
            raise UserError("schedule: ReduceLROnPlateau follows a loss: callbacks=plateau does that here.")
        factors: list[float] = []
        while len(factors) < min(count, getattr(scheduler, "total_steps", count)):  # OneCycleLR has an end
            factors.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
        return factors + factors[-1:] * (count - len(factors))


def _factor_at(stages: Stages, time: float) -> float:
    return next(factor for start, factor in reversed(stages) if start <= time)


def _warmup_factor(time: float, warmup: float) -> float:
    return min(1.0, time / warmup) if warmup else 1.0
