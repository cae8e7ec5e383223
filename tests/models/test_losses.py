"""The terms of a loss: logged, kept by a resume, and apart from the model."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn

import colorlab
from colorlab.data.batch import Batch
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.objectives import Objective, Prediction, Sum
from colorlab.schedules import Constant
from support.small_training import pictures, trained


class Recorded(Objective):
    """Two terms; keeps what it returned, with the number of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[bool, list[tuple[float, float, int]]] = {True: [], False: []}

    def forward(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        terms = {"l1": nn.functional.l1_loss(prediction.ab, batch.ab), "size": prediction.ab.square().mean()}
        self.kept[torch.is_grad_enabled()].append((*(term.item() for term in terms.values()), len(batch.L)))
        return terms


def mean(kept: list[tuple[float, float, int]], term: int) -> float:
    return sum(each[term] * each[2] for each in kept) / sum(each[2] for each in kept)


def test_each_term_is_logged_as_the_mean_over_the_pictures(tmp_path: Path) -> None:
    objective = Recorded()
    _, trainer = trained(objective, tmp_path)
    logged = {name: value.item() for name, value in trainer.logged_metrics.items() if "loss" in name}
    for stage, with_graph in (("train", True), ("val", False)):
        kept = objective.kept[with_graph]
        assert logged.pop(f"{stage}/loss/l1") == pytest.approx(mean(kept, 0), rel=1e-5)
        assert logged.pop(f"{stage}/loss/size") == pytest.approx(mean(kept, 1), rel=1e-5)
        assert logged.pop(f"{stage}/loss") == pytest.approx(mean(kept, 0) + mean(kept, 1), rel=1e-5)
    assert logged == {}


def test_a_loss_of_one_number_has_no_terms(tmp_path: Path) -> None:
    _, trainer = trained(nn.MSELoss(), tmp_path)
    assert {name for name in trainer.logged_metrics if "loss" in name} == {"train/loss", "val/loss"}


class SaveAfterBatch(Callback):
    """Writes a checkpoint after a batch of the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, model: CUNet, outputs: object, batch: Batch, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 1):
            trainer.save_checkpoint(self.path)


def two_losses() -> Sum:
    return Sum({"l1": nn.L1Loss(), "mse": nn.MSELoss()}, {"mse": 0.01})


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resume_within_an_epoch_keeps_the_sums_of_the_terms(tmp_path: Path) -> None:
    path = tmp_path / "middle.ckpt"
    _, undisturbed = trained(two_losses(), tmp_path, epochs=2, callbacks=[SaveAfterBatch(path)])
    _, resumed = trained(two_losses(), tmp_path, epochs=2, resume=path)
    assert resumed.logged_metrics == undisturbed.logged_metrics
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["terms"] == ["l1", "mse"]
    ((loss, count, l1, mse),) = checkpoint["learned"]
    assert (count, l1 + mse) == (4, pytest.approx(loss, rel=1e-6))
    model = CUNet(width=2)
    model.prepare_training(two_losses(), torch.optim.Adam, Constant())
    model.loss_terms.load(checkpoint, process=0, processes=1)
    assert model.loss_terms.sums[:5].tolist() == [loss, count, l1, mse, 0]
    for process in range(2):
        model.loss_terms.load(checkpoint, process, processes=2)
        assert model.loss_terms.sums[:4].tolist() == [loss / 2, count / 2, l1 / 2, mse / 2]


def test_sums_of_a_checkpoint_without_terms_or_of_another_objective_are_taken_up(tmp_path: Path) -> None:
    batch = Batch(torch.zeros(2, 1, 4, 4), torch.ones(2, 2, 4, 4), torch.arange(2))
    for checkpoint in ({"learned": [[6.0, 2.0]]}, {"learned": [[6.0, 2.0, 5.0, 1.0]], "terms": ["vgg", "l1"]}):
        model = CUNet(width=2)
        model.prepare_training(two_losses(), torch.optim.Adam, Constant())
        model.loss_terms.load(checkpoint, process=0, processes=1)
        model.loss_terms.in_training(Prediction(torch.zeros(2, 2, 4, 4)), batch)
        means = model.loss_terms.epoch_means(lambda sums: sums)
        assert means["train/loss"].item() == pytest.approx((6 + 2 * 1.01) / 4)
        assert means["train/loss/l1"].item() == pytest.approx(2 / 4), "the sums of another objective are left out"


def test_terms_that_change_are_refused() -> None:
    class Changing(Objective):
        def forward(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
            return {str(prediction.ab.mean().item()): prediction.ab.mean()}

    model = CUNet(width=2)
    model.prepare_training(Changing(), torch.optim.Adam, Constant())
    batch = pictures(1)[0]
    model.loss_terms.in_training(Prediction(torch.zeros(1, 2, 4, 4)), batch)
    with pytest.raises(UserError, match=r"returns the terms \['1\.0'\] after \['0\.0'\]: they must stay the same"):
        model.loss_terms.in_training(Prediction(torch.ones(1, 2, 4, 4)), batch)


# -- frozen networks ---------------------------------------------------------------------------------


class Perceptual(Objective):
    """Distance in the features of a small random network, which would change in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU())

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return nn.functional.l1_loss(self.features(prediction.ab), self.features(batch.ab))


def test_a_frozen_network_teaches_and_stays_as_it_was(tmp_path: Path) -> None:
    objective = Perceptual()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    start = CUNet(width=2).state_dict().keys()
    model, trainer = trained(objective, tmp_path, epochs=2)
    assert trainer.logged_metrics["train/loss"] > 0
    assert not objective.training
    torch.testing.assert_close(dict(objective.state_dict()), before, rtol=0, atol=0)
    assert all(weight.grad is None for weight in objective.parameters())
    assert model.state_dict().keys() == start
    assert len(list(model.parameters())) == len(list(CUNet(width=2).parameters()))


def test_a_checkpoint_with_a_frozen_network_loads_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "end.ckpt"
    ema = partial(EMAWeightAveraging, decay=0.5)
    _, trainer = trained(Sum({"perceptual": Perceptual()}), tmp_path, callbacks=[ema()])
    trainer.save_checkpoint(path)
    model = CUNet(width=2)
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    assert set(colorlab.load(path).state_dict()) == set(model.state_dict())
    _, resumed = trained(Sum({"perceptual": Perceptual()}), tmp_path, epochs=2, callbacks=[ema()], resume=path)
    assert resumed.current_epoch == 2
    _, other = trained(nn.MSELoss(), tmp_path, epochs=2, callbacks=[ema()], resume=path)
    assert other.current_epoch == 2
