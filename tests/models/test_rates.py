"""The rates of each parameter group, in real trainings, compared with the product written out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from colorlab.callbacks.plateau import PlateauDecay
from colorlab.data.batch import Batch
from colorlab.errors import UserError
from colorlab.models import Colorizer
from colorlab.schedules import Constant, Cosine, Schedule, Staged

HALVED = Staged(lr=[(0, 1.0), (2, 0.5)], weight_decay=[(0, 1.0), (2, 0.1)])
ADAM = partial(torch.optim.Adam, lr=1e-3, weight_decay=1e-2)
STEPS = 4
"""Steps per epoch."""

Rate = tuple[float, float | None]


class Net(Colorizer):
    """A backbone and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 3, padding=1)
        self.initialize()
        self.rates_seen: list[list[Rate]] = []
        self.logged: dict[str, float] = {}
        self.val_loss = [1.0] * 20

    def network(self, lightness: Tensor) -> Tensor:
        return self.head(self.backbone(lightness / 100))

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Note the rates with which a step has just been taken, or is about to be."""
        self.rates_seen.append([(group["lr"], group.get("weight_decay")) for group in optimizer.param_groups])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", self.val_loss[self.current_epoch], batch_size=len(batch.L))

    def on_train_end(self) -> None:
        self.logged = {name: float(value) for name, value in self.trainer.logged_metrics.items()}


class Grouped(Net):
    """The backbone learns slowly and decays twice as much."""

    def parameter_groups(self) -> list[dict]:
        slow = {"params": self.backbone.parameters(), "lr_factor": 1e-3, "weight_decay_factor": 2, "name": "backbone"}
        return [{"params": self.head.parameters()}, slow]


class OwnOptimizer(Net):
    """Its groups, of 1e-3 and 1e-6, are made the way of Lightning's documentation."""

    def configure_optimizers(self) -> Optimizer:
        groups = [{"params": self.head.parameters()}, {"params": self.backbone.parameters(), "lr": 1e-6}]
        return torch.optim.AdamW(groups, lr=1e-3, weight_decay=1e-2)


def fit(
    model: Net,
    folder: Path,
    schedule: Schedule,
    *callbacks: Callback,
    optim: Callable = ADAM,
    unit: str = "epochs",
    ckpt: Path | None = None,
    **limits: object,
) -> Trainer:
    draw = torch.Generator().manual_seed(0)
    L, ab = torch.rand(STEPS, 1, 16, 16, generator=draw) * 100, torch.rand(STEPS, 2, 16, 16, generator=draw) * 60
    index = torch.arange(STEPS)
    data = DataLoader([Batch(*one) for one in zip(L.split(1), ab.split(1), index.split(1), strict=True)], None)
    model.prepare_training(nn.MSELoss(), optim, schedule, unit=unit)
    trainer = Trainer(
        default_root_dir=folder, callbacks=[*callbacks], logger=False, accelerator="cpu", num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, **limits,
    )  # fmt: skip
    trainer.fit(model, data, data, ckpt_path=ckpt, weights_only=True)
    trainer.save_checkpoint(folder / "end.ckpt")
    return trainer


def test_each_group_follows_the_schedule_with_its_own_factors(tmp_path: Path) -> None:
    model = Grouped()
    fit(model, tmp_path, HALVED, max_epochs=3)
    expected = [[(1e-3, 1e-2), (1e-6, 2e-2)]] * 8 + [[(5e-4, 1e-3), (5e-7, 2e-3)]] * 4
    assert np.array(model.rates_seen) == pytest.approx(np.array(expected))
    assert {name: value for name, value in model.logged.items() if name.startswith("optim/")} == pytest.approx({
        "optim/lr": 5e-4, "optim/weight_decay": 1e-3, "optim/lr/backbone": 5e-7, "optim/weight_decay/backbone": 2e-3,
    })  # fmt: skip


def test_the_groups_of_an_optimizer_that_the_model_makes_keep_their_own_rates(tmp_path: Path) -> None:
    model = OwnOptimizer()
    fit(model, tmp_path, HALVED, max_epochs=3)
    resumed = OwnOptimizer()
    fit(resumed, tmp_path, HALVED, max_epochs=4, ckpt=tmp_path / "end.ckpt")
    expected = [[(1e-3, 1e-2), (1e-6, 1e-2)]] * 8 + [[(5e-4, 1e-3), (5e-7, 1e-3)]] * 8
    assert np.array(model.rates_seen + resumed.rates_seen) == pytest.approx(np.array(expected))


def test_another_rate_on_a_resume_is_that_of_all_groups(tmp_path: Path) -> None:
    fit(Grouped(), tmp_path, HALVED, max_epochs=1)
    model = Grouped()
    optim = partial(torch.optim.Adam, lr=1e-2, weight_decay=0.5)
    fit(model, tmp_path, HALVED, optim=optim, max_epochs=2, ckpt=tmp_path / "end.ckpt")
    assert np.array(model.rates_seen) == pytest.approx(np.array([[(1e-2, 0.5), (1e-5, 1.0)]] * 4))


def test_a_plateau_lowers_each_group_down_to_the_minimum_and_raises_none(tmp_path: Path) -> None:
    class Three(Net):
        def parameter_groups(self) -> list[dict]:
            return [
                {"params": self.head.parameters()},
                {"params": self.backbone[0].parameters(), "lr_factor": 0.1},
                {"params": self.backbone[1].parameters(), "lr_factor": 1e-4},
            ]

    model = Three()
    plateau = PlateauDecay(patience=1, factor=0.1, min_lr=2e-5)
    fit(model, tmp_path, Constant(), plateau, max_epochs=5)
    lrs = [[lr for lr, _ in groups] for groups in model.rates_seen[::STEPS]]
    assert lrs == [
        pytest.approx(each)
        for each in ([1e-3, 1e-4, 1e-7], [1e-3, 1e-4, 1e-7], [1e-4, 2e-5, 1e-7], [2e-5, 2e-5, 1e-7], [2e-5, 2e-5, 1e-7])
    ]
    assert [groups[2] for groups in model.rates_seen] == [pytest.approx((1e-7, 1e-2))] * 20
    assert plateau.decays == [1, 2]


@pytest.mark.parametrize("train_bn", [True, False])
def test_backbone_finetuning_sets_its_group_and_the_schedule_the_others(train_bn: bool, tmp_path: Path) -> None:
    """Its rate is a tenth of the head's at first, doubles in each epoch, and ends at the head's."""
    model, tuning = Net(), partial(BackboneFinetuning, 1, train_bn=train_bn)
    fit(model, tmp_path, HALVED, tuning(), max_epochs=6)
    lrs = [[lr for lr, _ in groups] for groups in model.rates_seen[::STEPS]]
    expected = [[1e-3], [1e-3, 1e-4], [5e-4, 2e-4], [5e-4, 4e-4], [5e-4, 5e-4], [5e-4, 5e-4]]
    assert lrs == [pytest.approx(each) for each in expected]
    assert model.logged["optim/lr/group2"] == pytest.approx(5e-4)


def test_backbone_finetuning_resumes_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = Net()
    begin = {name: value.clone() for name, value in whole.state_dict().items()}
    fit(whole, tmp_path, HALVED, BackboneFinetuning(1), max_epochs=4)
    for epochs in (1, 3):
        part, rest = Net(), Net()
        part.load_state_dict(begin)
        fit(part, tmp_path, HALVED, BackboneFinetuning(1), max_epochs=epochs)
        fit(rest, tmp_path, HALVED, BackboneFinetuning(1), max_epochs=4, ckpt=tmp_path / "end.ckpt")
        assert rest.rates_seen == whole.rates_seen[epochs * STEPS :]
        torch.testing.assert_close(rest.state_dict(), whole.state_dict(), rtol=0, atol=0)


# -- steps, and trainings that end by steps or by time -----------------------------------------------


def test_a_schedule_counts_steps_of_the_optimizer_also_after_a_resume(tmp_path: Path) -> None:
    model, resumed = Net(), Net()
    schedule = Staged(lr=[(0, 1.0), (3, 0.5), (7, 0.25)], weight_decay=[(0, 1.0)])
    fit(model, tmp_path, schedule, unit="steps", max_epochs=1)
    fit(resumed, tmp_path, schedule, unit="steps", max_epochs=2, ckpt=tmp_path / "end.ckpt")
    seen = model.rates_seen + resumed.rates_seen
    assert [lr for ((lr, _),) in seen] == pytest.approx([1e-3] * 3 + [5e-4] * 4 + [2.5e-4])


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    model = Net()
    schedule = Staged(lr=[(0, 1.0), (1, 0.5), (3, 0.25)], weight_decay=[(0, 1.0)])
    fit(model, tmp_path, schedule, unit="steps", max_epochs=2, accumulate_grad_batches=2)
    assert [lr for ((lr, _),) in model.rates_seen] == pytest.approx([1e-3, 5e-4, 5e-4, 2.5e-4])


@pytest.mark.parametrize(
    ("unit", "limits", "steps"),
    [
        ("epochs", {"max_epochs": 3}, 12),
        ("epochs", {"max_epochs": -1, "max_steps": 6}, 6),
        ("steps", {"max_epochs": 2}, 8),
        ("steps", {"max_epochs": -1, "max_steps": 6}, 6),
        ("steps", {"max_epochs": 5, "max_steps": 6, "max_time": "00:00:30:00"}, 6),
    ],
)
def test_a_cosine_without_a_length_ends_with_the_training(unit: str, limits: dict, steps: int, tmp_path: Path) -> None:
    model = Net()
    trainer = fit(model, tmp_path, Cosine(), unit=unit, **limits)
    assert trainer.global_step == steps
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), 1e-3), steps)
    expected = []
    for _ in range(steps):
        expected += cosine.get_last_lr()
        cosine.optimizer.step()
        cosine.step()
    assert [lr for ((lr, _),) in model.rates_seen] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [Constant(), HALVED, Cosine(length=2)])
def test_a_training_may_end_by_its_time_only(schedule: Schedule, tmp_path: Path) -> None:
    model = Net()
    fit(model, tmp_path, schedule, max_epochs=-1, max_time={"milliseconds": 1})
    assert 1 <= len(model.rates_seen) <= STEPS


def test_a_cosine_needs_a_length_if_the_training_ends_by_its_time_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"add schedule\.length=N"):
        fit(Net(), tmp_path, Cosine(), max_epochs=-1, max_time={"milliseconds": 1})


# -- optimizers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optim", [torch.optim.LBFGS, torch.optim.Rprop, torch.optim.SGD, torch.optim.Adafactor])
def test_optimizers_of_all_kinds_train_and_resume(optim: type[Optimizer], tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, part, rest = Net(), Net(), Net()
    part.load_state_dict(whole.state_dict())
    build = partial(optim, lr=1e-4, **({"max_iter": 3} if optim is torch.optim.LBFGS else {}))
    fit(whole, tmp_path, HALVED, optim=build, max_epochs=3)
    assert whole.logged["optim/lr"] == pytest.approx(5e-5)
    assert ("optim/weight_decay" in whole.logged) == ("weight_decay" in build(whole.parameters()).defaults)
    fit(part, tmp_path, HALVED, optim=build, max_epochs=1)
    fit(rest, tmp_path, HALVED, optim=build, max_epochs=3, ckpt=tmp_path / "end.ckpt")
    torch.testing.assert_close(rest.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert not torch.equal(rest.head.weight, Net().head.weight)
