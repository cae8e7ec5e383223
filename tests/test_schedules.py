"""Schedules as functions of time."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

from colorlab.errors import UserError
from colorlab.schedules import Constant, Cosine, Staged, TorchSchedule

REPORT = Staged(lr=[(0, 1.0), (100, 0.2), (200, 0.1)], weight_decay=[(0, 1.0), (100, 0.1)])


@pytest.mark.parametrize(
    ("epoch", "lr", "weight_decay"),
    [(0, 1, 1), (99.99, 1, 1), (100, 0.2, 0.1), (199, 0.2, 0.1), (200, 0.1, 0.1), (5000, 0.1, 0.1)],
)
def test_stages_change_at_their_epochs(epoch: float, lr: float, weight_decay: float) -> None:
    assert REPORT.lr_factor(epoch) == lr
    assert REPORT.weight_decay_factor(epoch) == weight_decay


def test_a_warm_up_raises_the_learning_rate_linearly_and_not_the_weight_decay() -> None:
    warm = Staged(lr=[(0, 1.0)], weight_decay=[(0, 1.0)], warmup=2)
    assert [warm.lr_factor(epoch) for epoch in (0, 0.5, 1, 2, 3)] == [0, 0.25, 0.5, 1, 1]
    assert warm.weight_decay_factor(0) == 1


@pytest.mark.parametrize("stages", [[], [(1, 1.0)], [(0, 1.0), (20, 0.1), (10, 0.2)], [(0, 1.0), (0, 0.5)]])
def test_stages_out_of_order_are_refused(stages: list) -> None:
    with pytest.raises(UserError, match="each later than the one before"):
        Staged(lr=stages, weight_decay=[(0, 1.0)])


def test_cosine_rises_then_falls_to_its_final_factor() -> None:
    cosine = Cosine(length=12, warmup=2, final=0.1)
    assert cosine.lr_factor(1) == pytest.approx(0.5)
    assert cosine.lr_factor(2) == pytest.approx(1)
    assert cosine.lr_factor(7) == pytest.approx(0.55)
    assert cosine.lr_factor(12) == cosine.lr_factor(40) == pytest.approx(0.1)


def test_a_warm_up_as_long_as_the_schedule_is_refused() -> None:
    with pytest.raises(UserError, match=r"below schedule\.length"):
        Cosine(length=5, warmup=5)


def test_constant_keeps_the_base_values() -> None:
    assert {Constant().lr_factor(epoch) for epoch in (0, 3.5, 1e6)} == {1.0}


# -- schedulers of torch -----------------------------------------------------------------------------

TORCH = {
    "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=10),
    "steps": partial(lr_scheduler.MultiStepLR, milestones=[3, 7], gamma=0.5),
    "warm restarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=4, T_mult=2),
    "one cycle": partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=31, cycle_momentum=False),
}


@pytest.mark.parametrize("name", TORCH)
def test_a_scheduler_of_torch_gives_the_factors_of_its_own_run(name: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, expected = TORCH[name](optimizer), []
    for _ in range(30):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    schedule = TorchSchedule(TORCH[name])
    assert [schedule.lr_factor(time) for time in range(30)] == expected
    again = pickle.loads(pickle.dumps(copy.deepcopy(schedule)))
    assert [again.lr_factor(time + 0.5) for time in (29, 3, 0)] == [expected[time] for time in (29, 3, 0)]
    assert schedule.weight_decay_factor(20) == 1


def test_after_the_end_of_a_scheduler_its_factor_stays() -> None:
    schedule = TorchSchedule(TORCH["one cycle"])
    assert schedule.lr_factor(1000) == schedule.lr_factor(31) == schedule.lr_factor(30) == pytest.approx(1 / 25 / 1e4)


def test_a_scheduler_that_follows_a_loss_is_refused() -> None:
    with pytest.raises(UserError, match="callbacks=plateau does that here"):
        TorchSchedule(lr_scheduler.ReduceLROnPlateau)
