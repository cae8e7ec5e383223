"""NaN and infinite losses, gradients and validation losses; extreme learning rates; batches without color."""

import logging
import random
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.utils.data import DataLoader, DistributedSampler

from colorlab.callbacks.checkpoints import FiniteCheckpoint, Last
from colorlab.callbacks.finite_steps import FiniteSteps
from colorlab.data.batch import Batch
from colorlab.data.color_histogram import write_prior
from colorlab.errors import Stopped
from colorlab.models import ECCV16, Colorizer, CUNet
from colorlab.objectives import Classification, LearningObjective, Prediction, RebalancedClassification
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.runs.folder import RunFolder
from colorlab.schedules import Constant
from support.commands import train_exit_code

POISONS = {
    "a NaN in L": ("L", float("nan")),
    "an infinite ab": ("ab", float("inf")),
    "an ab of 1e25, whose square overflows and whose gradient does not": ("ab", 1e25),
    "an L of 3e38, which overflows in bfloat16": ("L", 3e38),
    "a NaN gradient and a finite loss": ("ab", 0.0),
}


class RootMeanSquare(nn.Module):
    """Root mean square error over pixels with color; for a gray image it is 0 and its gradient NaN."""

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        return ((predicted - true) * (true != 0)).square().mean(dim=(1, 2, 3)).sqrt().mean()


class RandomBatches(LightningDataModule):
    """Batches of two random images; optionally one batch contains a bad value."""

    def __init__(self, count: int, poisoned: int | None = None, poison: tuple[str, float] = ("L", 0.0)) -> None:
        super().__init__()
        draw, self.seed = torch.Generator().manual_seed(0), 0
        L, ab = torch.rand(count, 2, 1, 16, 16, generator=draw) * 100, torch.randn(count, 2, 2, 16, 16, generator=draw)
        self.batches = [
            Batch(L[place], 30 * ab[place], torch.tensor([2 * place, 2 * place + 1])) for place in range(count)
        ]
        if poisoned is not None:
            name, value = poison
            getattr(self.batches[poisoned], name)[1] = value
        self.photographs = {"train": SimpleNamespace(name="photograph{}.jpg".format)}

    def without(self, *left_out: int) -> "RandomBatches":
        """Remove these batches."""
        self.batches = [batch for place, batch in enumerate(self.batches) if place not in left_out]
        return self

    def train_dataloader(self) -> DataLoader:
        """Return the batches in order; several processes take turns."""
        distributed = torch.distributed.is_initialized()
        sampler = DistributedSampler(self.batches, shuffle=False) if distributed else None
        return DataLoader(self.batches, batch_size=None, sampler=sampler)


def fit(
    data: RandomBatches,
    folder: Path,
    build: type[Colorizer],
    objective: nn.Module,
    fused: bool = True,
    **settings: object,
) -> SimpleNamespace:
    """Train for one epoch; return the weights and optimizer state, the mean loss and the averaged weights."""
    seed_everything(0, verbose=False)
    model = build(width=2)
    model.prepare_training(objective, partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-4, fused=fused), Constant())
    finite, average = FiniteSteps(), EMAWeightAveraging(decay=0.9)
    callbacks: list[Callback] = [finite, average]
    trainer = Trainer(
        max_epochs=1, default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, callbacks=callbacks, **settings,
    )  # fmt: skip
    seen = {}
    average.on_train_end = lambda trainer, model: seen.update(  # instead of replacing the weights by their average
        averaged=[weight.clone() for weight in average._average_model.parameters()]
    )
    trainer.fit(model, datamodule=data)
    moments = [state for group in trainer.optimizers[0].state.values() for state in group.values()]
    loss = float(trainer.callback_metrics["train/loss"])
    return SimpleNamespace(state=[*model.state_dict().values(), *moments], loss=loss, **seen)


@pytest.mark.parametrize("poison", POISONS)
def test_a_nonfinite_step_equals_training_without_its_batch(
    tally, tmp_path: Path, caplog: pytest.LogCaptureFixture, poison: str
) -> None:
    """Weights, BatchNorm statistics, Adam moments and the mean loss are equal bit for bit, also with accumulation."""
    chance = random.Random(poison)
    objective = RootMeanSquare() if "and a finite loss" in poison else nn.MSELoss()
    precision = {"precision": "bf16-mixed"} if "bfloat16" in poison else {}
    for number in range(tally.times(2, 40)):
        parts = number % 2 + 1
        build = ECCV16 if precision else (CUNet, ECCV16)[number // 2 % 2]  # CUNet's sigmoids cannot overflow
        place = chance.randrange(8)
        first = place - place % parts
        settings = {"accumulate_grad_batches": parts, "fused": chance.random() < 0.7, **precision}
        expected = fit(
            RandomBatches(8).without(*range(first, first + parts)), tmp_path / "e", build, objective, **settings
        )
        folder, data = RunFolder(tmp_path / str(number)), RandomBatches(8, place, POISONS[poison])
        caplog.clear()
        with tally.injecting(f"a training step with {poison}"):
            found = fit(data, folder.path, build, objective, **settings)
            assert all(torch.equal(*pair) for pair in zip(found.state, expected.state, strict=True))
            assert all(state.isfinite().all() for state in [*found.state, *found.averaged])
            assert found.loss == expected.loss
            (saved,) = folder.nonfinite.iterdir()
            assert saved.name == f"epoch000_step{first // parts + 1:06d}.pt"
            replay = torch.load(saved, weights_only=True)
            assert torch.equal(replay["ab"][2 * (place - first) :][:2], data.batches[place].ab)
            names = [f"photograph{index}.jpg" for index in range(2 * first, 2 * (first + parts))]
            assert replay["names"] == names
            (line,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
            assert ", ".join(names) in line
            assert str(saved) in line


class StateRecorder(Callback):
    """Record the weights, BatchNorm statistics and Adam moments after each step."""

    def __init__(self) -> None:
        self.states: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, *_: object) -> None:
        moments = [state for group in trainer.optimizers[0].state.values() for state in group.values()]
        self.states.append([state.clone() for state in [*model.state_dict().values(), *moments]])


@pytest.mark.parametrize("fused", [True, False])
def test_a_nonfinite_step_in_mixed_precision_changes_nothing_and_training_goes_on(
    tally, tmp_path: Path, fused: bool
) -> None:
    """The gradient scaler of 16-mixed checks the gradients of a fused optimizer later than those of others."""
    for poison in ("a NaN in L", "an ab of 1e25, whose square overflows and whose gradient does not"):
        with tally.injecting("a non-finite step in 16-mixed precision"):
            model, recorder = ECCV16(width=2), StateRecorder()
            model.prepare_training(nn.MSELoss(), partial(torch.optim.Adam, lr=1e-2, fused=fused), Constant())
            trainer = Trainer(
                max_epochs=1, default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False,
                enable_model_summary=False, enable_checkpointing=False, callbacks=[FiniteSteps(), recorder],
                plugins=[MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=1))],
            )  # fmt: skip
            trainer.fit(model, datamodule=RandomBatches(8, 4, POISONS[poison]))
            same = [all(map(torch.equal, *pair)) for pair in pairwise(recorder.states)]
            assert same == [False, False, False, True, False, False, False]
            assert all(state.isfinite().all() for state in recorder.states[-1])


def test_a_nonfinite_batch_that_does_not_fit_on_the_disk_is_not_saved(
    tally, full_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tally.injecting("the disk is full when the batch of a non-finite step is saved"):
        (full_disk / "filler").write_bytes(bytes(60 * 1024))
        fit(RandomBatches(8, 4, POISONS["a NaN in L"]), full_disk, CUNet, nn.MSELoss())
        assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["filler"]
        (line,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
        assert "(It cannot be saved: No space left on device.)" in line


@pytest.mark.faults
def test_all_processes_skip_a_nonfinite_step(tally, tmp_path: Path) -> None:
    for rank in range(2):
        for poison in ("a NaN in L", "an ab of 1e25, whose square overflows and whose gradient does not"):
            place = {"poisoned": 6 + rank, "poison": POISONS[poison]}
            with tally.injecting("a NaN or infinite loss in one of two processes"):
                folder = tmp_path / f"{rank}{poison[:5]}"
                states = train_in_two_processes(folder, RandomBatches(16, **place), fused=rank == 0)
                expected = train_in_two_processes(folder / "expected", RandomBatches(16).without(6, 7), fused=rank == 0)
                for one, other, want in zip(*states, expected[0], strict=True):
                    assert torch.equal(one, other)
                    assert torch.equal(one, want)
                assert len(list(RunFolder(folder).nonfinite.glob("*_rank*.pt"))) == 2


class WeightsSaver(Callback):
    """Save the weights of each process at the end of training."""

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        weights = [weight.detach().clone() for weight in model.parameters()]
        torch.save(weights, Path(trainer.default_root_dir) / f"{trainer.global_rank}.pt")


def train_in_two_processes(folder: Path, data: RandomBatches, fused: bool) -> list[list[Tensor]]:
    """Train for one epoch and return the weights in each process."""
    seed_everything(0, verbose=False)
    folder.mkdir(exist_ok=True)
    model = CUNet(width=2)
    model.prepare_training(nn.MSELoss(), partial(torch.optim.Adam, lr=1e-2, fused=fused), Constant())
    trainer = Trainer(
        max_epochs=1, default_root_dir=folder, logger=False, accelerator="cpu", devices=2, strategy="ddp_fork",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[FiniteSteps(), WeightsSaver()],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("poison", POISONS)
def test_on_nonfinite_stop_ends_the_run(tally, tmp_path: Path, poison: str, fused: bool) -> None:
    """With a fused optimizer, the run ends one step later, when the result of the check is available."""
    with tally.injecting("a non-finite step with callbacks.finite.on_nonfinite=stop"):
        model = ECCV16(width=2)
        objective = RootMeanSquare() if "and a finite loss" in poison else nn.MSELoss()
        model.prepare_training(objective, partial(torch.optim.Adam, lr=1e-2, fused=fused), Constant())
        last = Last(str(tmp_path))
        trainer = Trainer(
            max_epochs=1, default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, callbacks=[FiniteSteps(on_nonfinite="stop"), last],
            precision="bf16-mixed" if "bfloat16" in poison else None,
        )  # fmt: skip
        with pytest.raises(Stopped, match=r"on_nonfinite=skip would go on"):
            trainer.fit(model, datamodule=RandomBatches(8, 4, POISONS[poison]))
        assert trainer.global_step == 5 + fused
        assert trainer.optimizers[0].found_inf is None
        assert all(state.isfinite().all() for state in model.state_dict().values())
        assert not (tmp_path / "last.ckpt").exists()


class InterruptAfter(Callback):
    """Raise KeyboardInterrupt, as Ctrl-C does, after a step and after the other callbacks."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("fused", [True, False])
def test_a_nonfinite_last_step_is_reported(
    tally, tmp_path: Path, caplog: pytest.LogCaptureFixture, fused: bool
) -> None:
    ways = {"steps": {"max_steps": 5}, "interrupted": {"callbacks": [FiniteSteps(), InterruptAfter(step=5)]}}
    for way, settings in ways.items():
        with tally.injecting("a non-finite last step of a run"):
            caplog.clear()
            model, folder = ECCV16(width=2), RunFolder(tmp_path / way)
            model.prepare_training(nn.MSELoss(), partial(torch.optim.Adam, lr=1e-2, fused=fused), Constant())
            trainer = Trainer(
                default_root_dir=folder.path, logger=False, accelerator="cpu", enable_progress_bar=False,
                enable_model_summary=False, enable_checkpointing=False,
                **{"max_epochs": 1, "callbacks": [FiniteSteps()], **settings},
            )  # fmt: skip
            with suppress(SystemExit, KeyboardInterrupt):
                trainer.fit(model, datamodule=RandomBatches(8, 4, POISONS["a NaN in L"]))
            assert [path.name for path in folder.nonfinite.iterdir()] == ["epoch000_step000005.pt"]
            assert "the step is left out" in caplog.text


@pytest.mark.parametrize("fused", [True, False])
def test_every_nonfinite_step_at_the_end_of_an_epoch_is_saved(tally, tmp_path: Path, fused: bool) -> None:
    with tally.injecting("two non-finite steps at the end of an epoch"):
        model, folder, data = ECCV16(width=2), RunFolder(tmp_path), RandomBatches(8, 7, POISONS["a NaN in L"])
        data.batches[6].L[0] = float("nan")
        model.prepare_training(nn.MSELoss(), partial(torch.optim.Adam, lr=1e-2, fused=fused), Constant())
        trainer = Trainer(
            max_epochs=1, default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, callbacks=[FiniteSteps(patience=2)],
        )  # fmt: skip
        with pytest.raises(Stopped, match="the last of 2 such steps in a row"):
            trainer.fit(model, datamodule=data)
        assert len(list(folder.nonfinite.iterdir())) == 2


@pytest.mark.parametrize("optim", [partial(torch.optim.SGD, momentum=0.9), torch.optim.AdamW])
def test_a_nonfinite_first_step_does_not_change_the_optimizer_state(tally, tmp_path: Path, optim) -> None:
    with tally.injecting("a non-finite first step of a run"):
        weights = []
        for data in (RandomBatches(4, 0, POISONS["a NaN in L"]), RandomBatches(4).without(0)):
            torch.manual_seed(0)
            model = ECCV16(width=2)
            model.prepare_training(nn.MSELoss(), partial(optim, lr=1e-6, fused=True), Constant())
            Trainer(
                max_epochs=1, default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False,
                enable_model_summary=False, enable_checkpointing=False, callbacks=[FiniteSteps()],
            ).fit(model, datamodule=data)  # fmt: skip
            weights.append([*model.state_dict().values()])
        assert all(map(torch.equal, *weights))


class FixedValidationLosses(CUNet):
    """A model with prescribed validation losses, one for each epoch."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(width=2)
        self.losses = losses
        self.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", self.losses[self.current_epoch], batch_size=1)


class BatchesWithValidation(RandomBatches):
    """Random batches that are also the validation set."""

    def val_dataloader(self) -> DataLoader:
        return self.train_dataloader()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_nonfinite_validation_loss_is_never_the_best(tally, tmp_path: Path, mode: str) -> None:
    nan, inf = float("nan"), float("inf")
    for losses in ([nan, 3.0, -inf, 2.0, inf, nan, 5.0], [nan, nan, inf, -inf])[: tally.times(1, 2)]:
        best = FiniteCheckpoint(
            tmp_path / str(len(losses)), monitor="val/loss", mode=mode, save_top_k=2, filename="{epoch}"
        )
        trainer = Trainer(
            max_epochs=len(losses), default_root_dir=tmp_path, logger=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, callbacks=[FiniteSteps(), best],
        )  # fmt: skip
        with tally.injecting("val/loss is NaN or infinite", times=sum(loss not in (2, 3, 5) for loss in losses)):
            trainer.fit(FixedValidationLosses(losses), datamodule=BatchesWithValidation(1))
            numbers = sorted({loss for loss in losses if abs(loss) < inf}, reverse=mode == "max")[:2]
            assert sorted(map(float, best.best_k_models.values()), reverse=mode == "max") == numbers
            assert best.best_model_path == (
                str(tmp_path / str(len(losses)) / f"epoch={losses.index(numbers[0])}.ckpt") if numbers else ""
            )


RUN = (
    "data.size=16", "data.batch_size=16", "data.workers=0", "trainer=cpu", "logger=csv", "test=true",
    "callbacks.comparison=null", "callbacks.curves=null", "metrics=[psnr]", "schedule=constant",
)  # fmt: skip


def test_a_learning_rate_of_1e6_ends_with_one_sentence(
    tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with tally.injecting("a learning rate of 1e6"):
        assert train_exit_code(monkeypatch, *RUN, "model.width=2", "optim.lr=1e6", "hydra.run.dir=run") == 1
        written, folder = capsys.readouterr(), RunFolder(tmp_path / "run")
        assert "the last of 10 such steps in a row: lower optim.lr" in written.err
        assert "Traceback" not in written.out + written.err
        assert len(list(folder.nonfinite.glob("*.pt"))) == 10
        assert not list(folder.checkpoints.path.glob("eccv16_*"))
        assert folder.status()["error"] == "Stopped"


def test_a_learning_rate_of_zero_does_not_change_the_weights(
    tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tally.injecting("a learning rate of 0"):
        for epochs in (1, 2):
            run = ("trainer.limit_train_batches=3", f"trainer.max_epochs={epochs}", f"hydra.run.dir={epochs}")
            assert train_exit_code(monkeypatch, *RUN, "model=cunet", "model.width=2", "optim.lr=0", *run) == 0
        names = [name for name, _ in CUNet(width=2).named_parameters()]
        one, other = (
            torch.load(find_checkpoint(tmp_path / name), weights_only=True)["state_dict"] for name in ("1", "2")
        )
        assert all(torch.equal(one[name], other[name]) for name in names)


@pytest.mark.parametrize("build", [CUNet, ECCV16])
def test_a_batch_without_color_has_a_finite_gradient(tally, tmp_path: Path, build: type[Colorizer]) -> None:
    write_prior(tmp_path / "prior.npz", torch.ones(256, 256, dtype=torch.int64))
    objectives = {
        "ab": [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss()],
        "bins": [Classification(), RebalancedClassification(prior=str(tmp_path / "prior.npz"))],
    }
    for head, several in objectives.items():
        for objective in several:
            with tally.injecting("a batch of gray pictures only"):
                model = build(width=2, head=head)
                model.prepare_training(objective, torch.optim.Adam, Constant())
                batch = Batch(torch.rand(2, 1, 16, 16) * 100, torch.zeros(2, 2, 16, 16), torch.arange(2))
                output = model.raw_output(batch.L)
                prediction = Prediction(output, None) if head == "ab" else Prediction(output[:, :2], output)
                loss = model.loss_terms.in_training(prediction, batch)
                loss.backward()
                assert loss.isfinite()
                assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


# -- critics -----------------------------------------------------------------------------------------


class Critical(LearningObjective):
    """A critic whose own loss is NaN for one batch, or whose gradient is."""

    def __init__(self, bad: int, fused: bool) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 3))
        self.bad, self.fused = bad, fused

    def configure_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.critic.parameters(), lr=1e-2, fused=self.fused)

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return (prediction.ab - batch.ab).abs().mean() - self.critic(prediction.ab).mean()

    def learn(self, prediction: Prediction, batch: Batch) -> Tensor:
        loss = self.critic(prediction.ab).mean() - self.critic(batch.ab).mean()
        return loss * float("nan") if self.bad in batch.index // 2 else loss


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_nonfinite_step_of_a_critic_equals_training_without_its_batch(
    tally, tmp_path: Path, fused: bool, accumulate: int
) -> None:
    ends = []
    for bad in (2, -1):
        torch.manual_seed(0)
        objective = Critical(bad, fused)
        data = RandomBatches(6)
        if bad < 0:
            data = data.without(*range(2, 2 + accumulate))
        with tally.injecting("a NaN in a critic's loss"):
            ends.append(fit(data, tmp_path, CUNet, objective, fused=fused, accumulate_grad_batches=accumulate))
        ends[-1].state += objective.critic.state_dict().values()
    assert all(map(torch.equal, ends[0].state, ends[1].state))
    assert ends[0].loss == ends[1].loss
