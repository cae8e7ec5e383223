"""The objectives on pictures, and DDColor's recipe: what they are, and short trainings with them."""

import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from colorlab.config import conf_folder, plain
from colorlab.models import DDColor
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.train.experiment import Experiment
from support.checkpoints import read_checkpoint
from support.commands import SMALL, train_exit_code
from support.runs import same_run

NARROW_CRITIC = ("width=4", "blocks=1")
"""A critic for pictures from 16×16."""


@pytest.fixture
def recipe() -> Experiment:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        words = ["experiment=ddcolor", "data.root=/photos", "hydra.runtime.output_dir=run"]
        composed = compose("train", words, return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    return Experiment.of(plain(OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])))


def test_the_recipe_has_the_released_numbers(recipe: Experiment) -> None:
    assert (recipe.model.target, recipe.model.arguments) == (DDColor, {"size": "large"})
    assert recipe.optim.target is torch.optim.AdamW
    assert recipe.optim.arguments == {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.01}
    schedule, milestones = recipe.schedule.build(), range(80_000, 400_000, 40_000)
    assert recipe.schedule_switches.unit == "steps"
    for place, step in enumerate(milestones):
        assert (schedule.lr_factor(step - 1), schedule.lr_factor(step)) == (0.5**place, 0.5 ** (place + 1))
    assert schedule.lr_factor(399_999) == 0.5**8
    assert {schedule.weight_decay_factor(step) for step in (0, 399_999)} == {1.0}
    assert recipe.data.arguments["batch_size"] == 16
    assert recipe.trainer.arguments["max_steps"] == 400_000
    objective = recipe.objective.arguments
    assert objective["weights"] == {"l1": 0.1, "perceptual": 5.0, "adversarial": 1.0, "colorfulness": 0.5}
    perceptual, adversarial = (objective["terms"][name].arguments for name in ("perceptual", "adversarial"))
    assert (perceptual["network"], perceptual["target_color"], adversarial["target_color"]) == ("vgg16_bn", 1.2, 1.2)


def test_the_recipe_only_flips_its_pictures(recipe: Experiment) -> None:
    augment = recipe.data.arguments["augment"].build()
    rgb = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    changed = augment(rgb, torch.arange(6), 0, 0)
    kept = [torch.allclose(one, other / 255, atol=1e-5) for one, other in zip(changed, rgb, strict=True)]
    flipped = [torch.allclose(one.flip(2), other / 255, atol=1e-5) for one, other in zip(changed, rgb, strict=True)]
    assert [one != other for one, other in zip(kept, flipped, strict=True)] == [True] * 6
    assert any(kept)
    assert any(flipped)


@pytest.mark.parametrize(
    ("objective", "options"),
    [("perceptual", ()), ("colorfulness", ()), ("adversarial", ("loss=hinge", *NARROW_CRITIC))],
)
def test_a_short_training_with_each_objective(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, objective: str, options: tuple[str, ...]
) -> None:
    chosen = [f"objective={objective}", *(f"objective.{option}" for option in options)]
    folder = tmp_path / "run"
    assert train_exit_code(monkeypatch, *SMALL, *chosen, "debug=true", f"hydra.run.dir={folder}") == 0
    metrics = read_metrics(RunFolder(folder))
    assert all(math.isfinite(metrics[f"{stage}/loss"][0]) for stage in ("train", "val"))
    assert ("train/loss/critic" in metrics) == (objective == "adversarial")


def test_the_recipe_trains_and_a_resumed_run_equals_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The epochs have two steps."""
    critic = [f"objective.terms.adversarial.{option}" for option in NARROW_CRITIC]
    small = [word for word in SMALL if not word.startswith("model")]
    network = [f"model.{option}" for option in ("size=tiny", "width=16", "queries=4", "layers=3", "encoder_width=8")]
    short = (
        "experiment=ddcolor", "data=samples", *small, *network, *critic, "objective.terms.perceptual.network=lite0",
        "data.batch_size=2", "trainer.max_epochs=-1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1",
    )  # fmt: skip
    undisturbed, resumed = (RunFolder(tmp_path / name) for name in ("undisturbed", "resumed"))
    assert train_exit_code(monkeypatch, *short, "trainer.max_steps=4", f"hydra.run.dir={undisturbed.path}") == 0
    assert train_exit_code(monkeypatch, *short, "trainer.max_steps=2", f"hydra.run.dir={resumed.path}") == 0
    assert train_exit_code(monkeypatch, f"resume={resumed.path}", "trainer.max_steps=4") == 0
    assert same_run(resumed, undisturbed)
    critics = [read_checkpoint(run.checkpoints.newest())["critics"] for run in (resumed, undisturbed)]
    assert critics[0].keys() == {"terms.adversarial"}
    torch.testing.assert_close(*critics, rtol=0, atol=0)
    metrics = read_metrics(resumed)
    terms = [metrics[f"train/loss/{name}"][1] for name in ("l1", "perceptual", "adversarial", "colorfulness")]
    assert sum(terms) == pytest.approx(metrics["train/loss"][1], rel=1e-5)
    assert terms[-1] < 0 < min(terms[:-1])
    assert metrics["optim/lr/adversarial/critic"][1] == pytest.approx(1e-4)
