"""Parameter groups in real trainings: what is frozen, what decays, and what a checkpoint of other groups becomes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader

from colorlab.data.batch import Batch
from colorlab.errors import UserError
from colorlab.models import Colorizer
from colorlab.models.parameter_groups import freeze, optimizer_groups
from colorlab.schedules import Constant

ADAM = partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-2)


class Net(Colorizer):
    """An encoder with two kinds of BatchNorm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.Dropout(0.5)
        )
        self.head = nn.Conv2d(4, 2, 1)
        self.initialize()

    def network(self, lightness: Tensor) -> Tensor:
        return self.head(self.encoder(lightness / 100))


class Grouped(Net):
    """Its encoder's learning rate has a factor of its own."""

    lr_factor = 0.0

    def parameter_groups(self) -> list[dict]:
        encoder = {"params": self.encoder.parameters(), "lr_factor": self.lr_factor, "name": "encoder"}
        return [{"params": self.head.parameters()}, encoder]


def batches() -> DataLoader:
    draw = torch.Generator().manual_seed(0)
    L, ab = torch.rand(8, 1, 16, 16, generator=draw) * 100, torch.rand(8, 2, 16, 16, generator=draw) * 60
    index = torch.arange(8)
    return DataLoader([Batch(*pair) for pair in zip(L.split(2), ab.split(2), index.split(2), strict=True)], None)


def fit(
    model: Colorizer, folder: Path, epochs: int = 1, optim: Callable = ADAM, decay: bool = True, **settings: object
) -> Trainer:
    """Train, and write end.ckpt."""
    seed_everything(0, verbose=False)
    model.prepare_training(nn.MSELoss(), optim, Constant(), decay_norms_and_biases=decay)
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, logger=False, accelerator="cpu", gradient_clip_val=1.0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, batches(), **settings)
    trainer.save_checkpoint(folder / "end.ckpt")
    return trainer


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Return the first words of the names of what has changed."""
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def names_in(model: nn.Module, groups: list[dict]) -> list[list[str]]:
    names = {weight: name for name, weight in model.named_parameters()}
    return [[names[weight] for weight in group["params"]] for group in groups]


def frozen_by_factor() -> Net:
    return Grouped()


def frozen_by_name() -> Net:
    model = Net()
    freeze(model, ["enc*r"])
    return model


def test_without_groups_of_its_own_a_model_has_one() -> None:
    model = Net()
    (group,) = optimizer_groups(model)
    assert group == {"params": list(model.parameters())}


@pytest.mark.parametrize("build", [frozen_by_factor, frozen_by_name])
def test_a_frozen_part_keeps_its_weights_and_its_statistics(build: Callable, tmp_path: Path) -> None:
    model = build()
    before = state_of(model)
    trainer = fit(model, tmp_path)
    assert changed(model, before) == {"head"}
    assert names_in(model, trainer.optimizers[0].param_groups) == [["head.weight", "head.bias"]]
    assert len(trainer.optimizers[0].state) == 2
    assert all(weight.grad is None and not weight.requires_grad for weight in model.encoder.parameters())
    model.train()
    assert not any(module.training for module in model.encoder.modules())
    assert model.head.training


@pytest.mark.parametrize("build", [frozen_by_factor, frozen_by_name])
def test_training_beside_a_frozen_part_equals_a_loop_over_the_head_alone(build: Callable, tmp_path: Path) -> None:
    """The clipped gradient, too, is that of the head alone."""
    torch.manual_seed(1)
    model = build()
    encoder = Net().encoder.eval()
    encoder.load_state_dict(model.encoder.state_dict())
    head = nn.Conv2d(4, 2, 1)
    head.load_state_dict(model.head.state_dict())
    optimizer = ADAM(head.parameters())
    for batch in batches():
        optimizer.zero_grad()
        nn.functional.mse_loss(head(encoder(batch.L / 100)), batch.ab).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    fit(model, tmp_path)
    torch.testing.assert_close(model.head.state_dict(), head.state_dict())


def test_freezing_a_part_of_a_part_leaves_the_rest_in_training(tmp_path: Path) -> None:
    model = Net()
    freeze(model, ["encoder.1", "encoder.2"])
    before = state_of(model)
    fit(model, tmp_path)
    after = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert after == {"encoder.0.weight", "encoder.0.bias", "head.weight", "head.bias"}
    assert model.encoder[3].training


def test_the_weight_decay_leaves_norms_and_biases_out_on_request(tmp_path: Path) -> None:
    model = Net()
    trainer = fit(model, tmp_path, decay=False)
    decayed, exempt = trainer.optimizers[0].param_groups
    assert names_in(model, [decayed, exempt]) == [
        ["encoder.0.weight", "head.weight"],
        ["encoder.0.bias", "encoder.1.weight", "encoder.1.bias", "head.bias"],
    ]
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (1e-2, 0)
    assert decayed["lr"] == exempt["lr"] == 1e-2


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (["encodr"], r"model\.freeze=encodr is no part of net: did you mean encoder\?"),
        (["x"], r"model\.freeze=x is no part of net: choose from: encoder, head\."),
        (["*"], r"model\.freeze=\[\*\] leaves nothing of net to train\."),
    ],
)
def test_a_wrong_name_is_refused_in_a_sentence(patterns: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        freeze(Net(), patterns)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lr_fator": 2}, "an unknown lr_fator: did you mean lr_factor?"),
        ({"params": []}, "leaves out encoder.0.weight: a group with lr_factor 0 would freeze it."),
        ({"name": "head"}, "has groups of the same name: head, head."),
    ],
)
def test_a_wrong_group_is_refused_in_a_sentence(changes: dict, sentence: str) -> None:
    class Wrong(Net):
        def parameter_groups(self) -> list[dict]:
            encoder = {"params": self.encoder.parameters()}
            return [{"params": self.head.parameters(), "name": "head"}, encoder | changes]

    model = Wrong()
    model.prepare_training(nn.MSELoss(), ADAM, Constant())
    with pytest.raises(UserError) as refused:
        model.configure_optimizers()
    assert str(refused.value) == f"parameter_groups() of wrong {'has a group with ' * ('fator' in sentence)}{sentence}"


# -- resume ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [frozen_by_factor, frozen_by_name, Net])
def test_a_resumed_training_equals_an_uninterrupted_one(build: Callable, tmp_path: Path) -> None:
    whole, resumed = build(), build()
    for model in (whole, resumed):
        model.encoder[3].p = 0.0  # no random numbers
    resumed.load_state_dict(whole.state_dict())
    begin = state_of(whole)
    fit(whole, tmp_path, 2, decay=False)
    resumed.load_state_dict(begin)
    fit(resumed, tmp_path, 1, decay=False)
    last = build()
    last.encoder[3].p = 0.0
    fit(last, tmp_path, 2, decay=False, ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    torch.testing.assert_close(last.state_dict(), whole.state_dict(), rtol=0, atol=0)


def steps_of(trainer: Trainer, model: nn.Module) -> dict[str, float]:
    """Return how many steps the optimizer's state of each parameter has seen."""
    state = trainer.optimizers[0].state
    return {name: float(state[weight]["step"]) for name, weight in model.named_parameters() if weight in state}


def test_what_was_frozen_begins_anew_and_the_rest_keeps_its_state(tmp_path: Path) -> None:
    fit(frozen_by_name(), tmp_path)
    model = Net()
    trainer = fit(model, tmp_path, 2, ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    assert steps_of(trainer, model) == {
        name: 8 if name.startswith("head") else 4 for name, _ in model.named_parameters()
    }


def test_what_is_frozen_on_a_resume_stays_as_it_was(tmp_path: Path) -> None:
    fit(Net(), tmp_path)
    model = frozen_by_name()
    trainer = fit(model, tmp_path, 2, ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    assert steps_of(trainer, model) == {"head.weight": 8, "head.bias": 8}
    assert changed(model, torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"]) == set()


def test_a_checkpoint_of_an_earlier_version_resumes_with_other_groups(tmp_path: Path) -> None:
    """It does not name its parameters, which are in one group."""
    fit(Net(), tmp_path)
    old = torch.load(tmp_path / "end.ckpt", weights_only=True)
    del old["parameter_groups"]
    torch.save(old, tmp_path / "old.ckpt")
    model = Net()
    trainer = fit(model, tmp_path, 2, decay=False, ckpt_path=tmp_path / "old.ckpt", weights_only=True)
    assert set(steps_of(trainer, model).values()) == {8}
    assert [group["weight_decay"] for group in trainer.optimizers[0].param_groups] == [1e-2, 0]
