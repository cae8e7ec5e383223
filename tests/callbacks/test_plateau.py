"""The plateau decay, in a real Trainer with given validation losses."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from colorlab.callbacks.plateau import PlateauDecay
from colorlab.data.batch import Batch
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.runs.decay_request import request_decay, take_decay_request
from colorlab.runs.folder import RunFolder
from colorlab.runs.status import Status
from colorlab.schedules import Staged

ONE_BATCH = DataLoader([Batch(torch.full((1, 1, 16, 16), 50.0), torch.zeros(1, 2, 16, 16), torch.tensor([0]))], None)


class Scripted(CUNet):
    """A model with given validation losses."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(width=2)
        self.losses, self.lrs, self.weight_decays = losses, [], []
        schedule = Staged(lr=[(0, 1.0), (4, 0.5)], weight_decay=[(0, 1.0)])
        self.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1.0, weight_decay=0.1), schedule)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", self.losses[self.current_epoch], batch_size=len(batch.L))

    def on_train_epoch_end(self) -> None:
        group = self.optimizers().param_groups[0]
        self.lrs.append(group["lr"])
        self.weight_decays.append(group["weight_decay"])


def fit(folder: Path, plateau: PlateauDecay, losses: list[float], **settings) -> Scripted:
    model = Scripted(losses)
    trainer = Trainer(
        max_epochs=len(losses), default_root_dir=folder, callbacks=[plateau], logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, ONE_BATCH, ONE_BATCH, **settings)
    trainer.save_checkpoint(folder / "end.ckpt")
    return model


def test_a_decay_follows_patience_epochs_without_progress_on_top_of_the_stages(tmp_path: Path) -> None:
    model = fit(tmp_path, PlateauDecay(patience=2), [5, 4, 4, 4, 3, 3, 3, 3])
    assert model.lrs == pytest.approx([1, 1, 1, 1, 0.05, 0.05, 0.05, 0.005])
    assert model.weight_decays == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])


def test_an_improvement_below_min_delta_is_no_progress(tmp_path: Path) -> None:
    losses = [5, 4.9, 4.8, 4.7]
    assert fit(tmp_path, PlateauDecay(patience=2, min_delta=0.5), losses).lrs == pytest.approx([1, 1, 1, 0.1])
    assert fit(tmp_path, PlateauDecay(patience=2), losses).lrs == pytest.approx([1, 1, 1, 1])


def test_the_learning_rate_stops_at_its_minimum(tmp_path: Path) -> None:
    model = fit(tmp_path, PlateauDecay(patience=1, factor=0.1, min_lr=0.03), [1, 1, 1, 1])
    assert model.lrs == pytest.approx([1, 1, 0.1, 0.03])


def test_without_patience_only_a_request_decays_and_only_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_configuration({"callbacks": {"plateau": {"patience": None}}}, [])
    Status(folder, "", []).begin()
    request_decay(folder)
    assert fit(tmp_path, PlateauDecay(patience=None), [1, 1, 1]).lrs == pytest.approx([1, 0.1, 0.1])
    assert not take_decay_request(folder)


def test_a_requested_decay_restarts_the_wait_for_progress(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_configuration({"callbacks": {"plateau": {"patience": 3}}}, [])
    Status(folder, "", []).begin()

    class Requesting(PlateauDecay):
        def on_train_epoch_start(self, trainer: Trainer, model: Scripted) -> None:
            if trainer.current_epoch == 2:
                request_decay(folder)

    plateau = Requesting(patience=3)
    fit(tmp_path, plateau, [1, 1, 1, 1, 1, 1, 1])
    assert plateau.decays == [2, 5]


def test_decays_and_the_wait_survive_a_resume(tmp_path: Path) -> None:
    losses = [5, 5, 5, 5, 5, 5, 5, 5, 5]
    whole = fit(tmp_path, PlateauDecay(patience=3), losses).lrs
    fit(tmp_path, PlateauDecay(patience=3), losses[:5])
    rest = fit(tmp_path, PlateauDecay(patience=3), losses, ckpt_path=tmp_path / "end.ckpt", weights_only=True).lrs
    assert rest == pytest.approx(whole[5:])
    assert len(set(whole)) > 2


@pytest.mark.parametrize(
    ("arguments", "sentence"), [({"factor": 1.5}, "between 0 and 1"), ({"patience": 0}, "least 1")]
)
def test_values_out_of_range_are_refused(arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PlateauDecay(**arguments)


def test_a_request_needs_a_run_with_a_plateau_callback(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError, match="is not the folder of a run"):
        request_decay(folder)
    folder.write_configuration({"callbacks": {"best": {}}}, [])
    with pytest.raises(UserError, match="has no plateau callback"):
        request_decay(folder)
