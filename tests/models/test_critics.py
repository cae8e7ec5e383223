"""An objective with a critic: each step against a loop by hand, and resumed against an undisturbed run."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

import colorlab
from colorlab import objectives
from colorlab.callbacks.plateau import PlateauDecay
from colorlab.data.batch import Batch
from colorlab.data.loader import EpochOrder
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.models.critics import Critics
from colorlab.objectives import LearningObjective, Prediction, Sum
from colorlab.schedules import Constant
from support.small_training import OPTIM, QUIET, collate, pictures, trained


class Adversarial(LearningObjective):
    """A critic, with BatchNorm, tells true from predicted colors."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3)
        )

    def configure_optimizer(self) -> Optimizer:
        return torch.optim.Adam(self.critic.parameters(), lr=0.1, betas=(0.5, 0.9), eps=0.1)

    def score(self, ab: Tensor, batch: Batch) -> Tensor:
        return self.critic(torch.cat([batch.L / 50 - 1, ab / 110], dim=1))

    def forward(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        fool = nn.functional.softplus(-self.score(prediction.ab, batch)).mean()
        return {"l1": nn.functional.l1_loss(prediction.ab, batch.ab) / 100, "fool": fool}

    def learn(self, prediction: Prediction, batch: Batch) -> Tensor:
        assert not prediction.ab.requires_grad
        true, fake = self.score(batch.ab, batch), self.score(prediction.ab, batch)
        return nn.functional.softplus(-true).mean() + nn.functional.softplus(fake).mean()


def epoch_of(epoch: int) -> Iterator[Batch]:
    """Yield the batches of an epoch of `trained`."""
    seven = pictures(7)
    order = EpochOrder(seven, num_replicas=1, rank=0)
    order.set_epoch(epoch)
    places = list(order)
    for start in range(0, 7, 2):
        yield collate([seven[place] for place in places[start : start + 2]])


def by_hand(
    objective: Adversarial,
    epochs: int = 1,
    accumulate: int = 1,
    clip: Callable[[Iterable[Tensor]], object] | None = None,
    bf16: bool = False,
    factor: Callable[[int, int], float] = lambda epoch, step: 1.0,
) -> tuple[CUNet, list[float]]:
    """Train as `trained` does, in a loop of plain torch; return the network and the critic's losses."""
    seed_everything(0, verbose=False)
    model = CUNet(width=2).train()
    objective.critic.train()
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if bf16 else nullcontext
    optimizers = OPTIM(model.parameters()), objective.configure_optimizer()
    rates = [optimizer.defaults["lr"] for optimizer in optimizers]
    learned = []
    for epoch in range(epochs):
        for step, batch in enumerate(epoch_of(epoch)):
            with autocast():
                output = model.raw_output(batch.L)
                ab = model.decode(output, batch.L.shape[-2:]).float()
                own = objective.learn(Prediction(ab.detach()), batch)
            gradients = torch.autograd.grad(own / accumulate, list(objective.critic.parameters()))
            learned.append(own.item())
            with autocast():
                loss = sum(objective(Prediction(ab), batch).values())
            (loss / accumulate).backward(inputs=list(model.parameters()))
            for weight, gradient in zip(objective.critic.parameters(), gradients, strict=True):
                weight.grad = gradient if weight.grad is None else weight.grad + gradient
            if (step + 1) % accumulate == 0 or step == 3:
                for network in (model, objective.critic) if clip else ():
                    clip(network.parameters())
                for optimizer, rate in zip(optimizers, rates, strict=True):
                    optimizer.param_groups[0]["lr"] = rate * factor(epoch, step - step % accumulate)
                    optimizer.step()
                    optimizer.zero_grad()
    return model, learned


def assert_equal(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    torch.testing.assert_close(dict(one.state_dict()), dict(other.state_dict()), **tolerance)


class Falling(Constant):
    def lr_factor(self, epoch: float) -> float:
        return 1 / (1 + epoch)


@pytest.mark.parametrize(
    ("how", "hand"),
    [
        ({}, {}),
        ({"accumulate_grad_batches": 3}, {"accumulate": 3}),
        ({"gradient_clip_val": 1e-3}, {"clip": partial(nn.utils.clip_grad_norm_, max_norm=1e-3)}),
        (
            {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"},
            {"clip": partial(nn.utils.clip_grad_value_, clip_value=1e-3)},
        ),
        ({"precision": "bf16-mixed"}, {"bf16": True}),
        ({"schedule": Falling()}, {"factor": lambda epoch, step: 1 / (1 + epoch + step / 4)}),
        (
            {"epochs": 3, "callbacks": [PlateauDecay(patience=1, min_delta=1e9)]},
            {"factor": lambda epoch, step: (1.0, 1.0, 0.1)[epoch]},
        ),
    ],
    ids=["plain", "accumulated", "clipped", "clipped by value", "bf16", "schedule", "plateau"],
)
def test_network_and_critic_learn_as_in_a_loop_by_hand(tmp_path: Path, how: dict, hand: dict) -> None:
    """Validation at the end of each epoch, in which the critic scores too, must change nothing."""
    objective = Adversarial()
    expected = deepcopy(objective)
    before = deepcopy(objective)
    how = {"epochs": 2} | how
    model, trainer = trained(objective, tmp_path, **how)
    network, losses = by_hand(expected, epochs=how["epochs"], **hand)
    tolerance = {"rtol": 2e-2, "atol": 1e-2} if "bf16" in hand else {"rtol": 1e-3, "atol": 1e-4}
    assert_equal(model, network, **tolerance)
    assert_equal(objective.critic, expected.critic, **tolerance)
    assert any((one - other).abs().max() > 1e-3 for one, other in zip(
        objective.critic.parameters(), before.critic.parameters(), strict=True
    ))  # fmt: skip
    *_, a, b, c, d = losses
    assert trainer.logged_metrics["train/loss/critic"].item() == pytest.approx(
        (2 * a + 2 * b + 2 * c + d) / 7, rel=tolerance["rtol"]
    )
    names = {name for name in trainer.logged_metrics if name.startswith("val/loss")}
    assert names == {"val/loss", "val/loss/l1", "val/loss/fool"}


def test_the_critics_learning_rate_is_logged_and_decays_no_lower_than_the_minimum(tmp_path: Path) -> None:
    """Two decays end at the minimum for the network; for the critic the schedule alone is below it in the end."""
    plateau = PlateauDecay(patience=1, min_delta=1e9, min_lr=0.05)
    optim = partial(torch.optim.Adam, lr=0.2, eps=1.0)
    how = {"epochs": 3, "callbacks": [plateau], "optim": optim}
    for schedule, expected in ((Constant(), (0.05, 0.05)), (Falling(), (0.05, 0.1 / (1 + 2.75)))):
        _, trainer = trained(Sum({"adversarial": Adversarial()}), tmp_path, schedule=schedule, **how)
        found = [trainer.logged_metrics[name].item() for name in ("optim/lr", "optim/lr/adversarial/critic")]
        assert found == pytest.approx(expected)
        assert plateau.decays


def test_compiled_training_equals_a_loop_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    objective = Adversarial()
    expected = deepcopy(objective)
    model, _ = trained(objective, tmp_path, compiled=True)
    network, _ = by_hand(expected)
    assert_equal(model, network, rtol=1e-2, atol=1e-3)
    assert_equal(objective.critic, expected.critic, rtol=1e-2, atol=1e-3)


# -- checkpoints -------------------------------------------------------------------------------------


class SaveAfterBatch(Callback):
    """Writes a checkpoint after a batch, or at the end of an epoch."""

    def __init__(self, path: Path, epoch: int, batch: int | None) -> None:
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer: Trainer, model: CUNet, outputs: object, batch: Batch, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer: Trainer, model: CUNet) -> None:
        if self.batch is None and trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("batch", [1, None], ids=["within an epoch", "between epochs"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", [Adversarial, partial(objectives.Adversarial, width=4, blocks=1, lr=0.01)])
def test_a_resumed_critic_equals_an_undisturbed_one(
    tmp_path: Path, batch: int | None, accumulate: int, kind: Callable[[], LearningObjective]
) -> None:
    path = tmp_path / "middle.ckpt"
    how = {"epochs": 3, "schedule": Falling(), "accumulate_grad_batches": accumulate}

    def callbacks() -> list[Callback]:
        return [EMAWeightAveraging(decay=0.5)]

    first = Sum({"adversarial": kind(), "color": objectives.Colorfulness()}, {"adversarial": 0.5})
    second = deepcopy(first)
    save = SaveAfterBatch(path, 1, batch)
    model, trainer = trained(first, tmp_path, callbacks=[*callbacks(), save], **how)
    resumed, other = trained(second, tmp_path, callbacks=callbacks(), resume=path, **how)
    assert_equal(model, resumed, rtol=0, atol=0)
    assert_equal(first, second, rtol=0, atol=0)
    ends = [each.loss_terms.critics.state_dict() for each in (model, resumed)]
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    assert other.logged_metrics == trainer.logged_metrics
    assert "train/loss/adversarial/critic" in trainer.logged_metrics


def test_a_checkpoint_with_a_critic_loads_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "end.ckpt"
    _, trainer = trained(Adversarial(), tmp_path)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["state_dict"].keys() == CUNet(width=2).state_dict().keys()
    assert len(checkpoint["optimizer_states"]) == 1
    assert colorlab.load(path).state_dict().keys() == checkpoint["state_dict"].keys()
    _, plain = trained(nn.MSELoss(), tmp_path, epochs=2, resume=path)
    assert plain.current_epoch == 2
    plain.save_checkpoint(path)
    _, anew = trained(Adversarial(), tmp_path, epochs=3, resume=path)
    assert anew.current_epoch == 3, "a run without a critic goes on with one, which begins anew"


def test_a_resumed_critic_has_the_configured_settings(tmp_path: Path) -> None:
    class Slower(Adversarial):
        def configure_optimizer(self) -> Optimizer:
            return torch.optim.Adam(self.critic.parameters(), lr=0.001, betas=(0.9, 0.99))

    _, trainer = trained(Adversarial(), tmp_path)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    model, _ = trained(Slower(), tmp_path, epochs=2, resume=tmp_path / "end.ckpt")
    (optimizer,) = model.loss_terms.critics.optimizers.values()
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.001, (0.9, 0.99))
    assert all(moments["step"] == 8 for moments in optimizer.state.values())


# -- two processes -----------------------------------------------------------------------------------


class SaveAtEnd(Callback):
    def on_train_end(self, trainer: Trainer, model: CUNet) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "end.ckpt")


class Alternating(LightningDataModule):
    """Eight pictures: the even ones for the first of two processes, the odd ones for the second."""

    def train_dataloader(self) -> DataLoader:
        return DataLoader(pictures(8)[self.trainer.global_rank :: 2], batch_size=2, collate_fn=collate)


def test_two_processes_average_the_critics_gradients(tmp_path: Path) -> None:
    objective = Adversarial()
    expected = deepcopy(objective)
    seed_everything(0, verbose=False)
    model = CUNet(width=2)
    reference = deepcopy(model).train()
    model.prepare_training(objective, partial(torch.optim.SGD, lr=0.1), Constant())
    trainer = Trainer(
        max_epochs=1, default_root_dir=tmp_path, strategy="ddp_fork", devices=2, use_distributed_sampler=False,
        callbacks=[SaveAtEnd()], **QUIET,
    )  # fmt: skip
    trainer.fit(model, datamodule=Alternating())
    eight = pictures(8)
    end = torch.load(tmp_path / "end.ckpt", weights_only=True)
    expected.critic.train()
    optimizers = torch.optim.SGD(reference.parameters(), lr=0.1), expected.configure_optimizer()
    for start in (0, 4):
        for process in (0, 1):
            batch = collate([eight[start + process], eight[start + process + 2]])
            ab = reference.decode(reference.raw_output(batch.L), batch.L.shape[-2:]).float()
            loss = sum(expected(Prediction(ab), batch).values())
            (loss / 2).backward(inputs=list(reference.parameters()))
            (expected.learn(Prediction(ab.detach()), batch) / 2).backward(inputs=list(expected.critic.parameters()))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for name, weight in reference.named_parameters():
        torch.testing.assert_close(end["state_dict"][name], weight.detach(), rtol=1e-3, atol=1e-5)
    for name, weight in expected.critic.named_parameters():
        torch.testing.assert_close(end["critics"][""]["critic"][name], weight.detach(), rtol=1e-3, atol=1e-5)


# -- refused -----------------------------------------------------------------------------------------


def test_16_mixed_with_its_scaler_is_refused(tmp_path: Path) -> None:
    """Lightning makes such a scaler for CUDA; torch has one for the CPU, too."""
    scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    objective = Sum({"adversarial": Adversarial()})
    with pytest.raises(UserError, match="not trained in 16-mixed"):
        trained(objective, tmp_path, plugins=[scaled])
    assert not objective.terms["adversarial"].critic.training, "nothing has begun"


def test_a_strategy_that_splits_networks_is_refused() -> None:
    trainer = SimpleNamespace(precision_plugin=None, strategy=object())
    with pytest.raises(UserError, match=r"on one device, or with trainer\.strategy=ddp"):
        Critics(Adversarial()).check(trainer)


def test_lbfgs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not trained with LBFGS"):
        Critics(Adversarial()).check_optimizer(torch.optim.LBFGS([nn.Parameter(torch.zeros(1))]))


def test_an_optimizer_of_other_networks_is_refused() -> None:
    class Greedy(Adversarial):
        def configure_optimizer(self) -> Optimizer:
            return torch.optim.SGD([*self.critic.parameters(), nn.Parameter(torch.zeros(1))], lr=0.1)

    with pytest.raises(UserError, match="The optimizer of Greedy has parameters that are not the critic's"):
        Critics(Greedy()).begin()


def test_a_checkpoint_of_another_critic_is_refused(tmp_path: Path) -> None:
    _, trainer = trained(Adversarial(), tmp_path)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(UserError, match="holds another critic than that of Adversarial"):
        trained(Adversarial(width=5), tmp_path, epochs=2, resume=tmp_path / "end.ckpt")


def test_a_term_with_the_critics_name_is_refused(tmp_path: Path) -> None:
    class Twice(Adversarial):
        def forward(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
            return {"critic": prediction.ab.mean()}

    with pytest.raises(UserError, match="a term that a critic has, too: critic"):
        trained(Twice(), tmp_path)
