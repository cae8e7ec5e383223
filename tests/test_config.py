"""Checking and building configuration, and every recipe in conf/."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from colorlab.config import MOVED, check, conf_folder, flatten, plain
from colorlab.errors import UserError
from colorlab.train.experiment import Experiment

CONF = conf_folder()
GROUPS = ("model", "optim", "schedule", "objective", "data", "callbacks", "logger", "trainer", "experiment")
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


def composed(*overrides: str, folder: Path) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        where = f"hydra.runtime.output_dir={folder}"
        cfg = compose("train", [*overrides, where], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return plain(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))


@pytest.mark.parametrize("recipe", [choice for choice in CHOICES if choice.startswith("experiment")])
def test_a_recipe_takes_every_other_choice_of_every_group(recipe: str, tmp_path: Path) -> None:
    """What a recipe sets beside its own choices must be known to all others: its keys stay when they change."""
    others = [[choice for choice in CHOICES if choice.startswith(f"{group}=")] for group in GROUPS[1:-1]]
    for i in range(max(map(len, others))):
        some_of_each = [choices[i % len(choices)] for choices in others]
        Experiment.of(composed(recipe, *some_of_each, "++data.root=/photos", folder=tmp_path))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_composes_and_passes_the_check(choice: str, tmp_path: Path) -> None:
    experiment = Experiment.of(composed(choice, "++data.root=/photos", folder=tmp_path))
    assert experiment.model.target is not None


def test_each_step_of_a_slurm_job_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for step in ("0", "1"):
        monkeypatch.setenv("SLURM_STEP_ID", step)
        composed("trainer=slurm", folder=tmp_path)
        assert HydraConfig.get().run.dir == f"runs/slurm/7.{step}_eccv16"


def test_the_reports_recipe_has_the_reports_numbers(tmp_path: Path) -> None:
    cfg = composed("experiment=report_cunet", "++data.root=/photos", folder=tmp_path)
    assert cfg["optim"] == {"_target_": "torch.optim.Adam", "lr": 1e-3, "weight_decay": 1e-4}
    experiment = Experiment.of(cfg)
    schedule, data = experiment.schedule.build(), experiment.data.arguments
    assert [1e-3 * schedule.lr_factor(epoch) for epoch in (0, 150, 299)] == pytest.approx([1e-3, 2e-4, 1e-4])
    assert [1e-4 * schedule.weight_decay_factor(epoch) for epoch in (0, 299)] == pytest.approx([1e-4, 1e-5])
    assert data.get("batch_size", 32) == 32
    assert experiment.objective.target is torch.nn.MSELoss


def test_a_plan_builds_what_it_checked() -> None:
    optim = check({"_target_": "torch.optim.AdamW", "lr": 2e-3, "betas": [0.8, 0.9]}, "optim", given=("params",))
    built = optim.partial()([torch.nn.Parameter(torch.zeros(1))])
    assert built.defaults["lr"] == 2e-3
    assert tuple(built.defaults["betas"]) == (0.8, 0.9)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"lr": 1}, r"thing has no _target_"),
        ({"_target_": "os.system", "command": "true"}, r"is not allowed: targets come from"),
        ({"_target_": "torch.optim.Adamm"}, r"cannot be found"),
        ({"_target_": "torch.pi"}, r"neither a class nor a function"),
        ({"_target_": "torch.nn.Linear", "in_features": 1}, r"thing\.out_features is missing"),
        ({"_target_": "colorlab.models.CUNet", "widht": 1}, r"did you mean thing\.width\?"),
        ({"_target_": "colorlab.models.CUNet", "width": "wide"}, r"thing\.width=wide must be a whole number"),
        ({"_target_": "lightning.Trainer", "max_epochs": "many"}, r"thing\.max_epochs=many must be a whole number"),
        (
            {"_target_": "colorlab.data.ColorDataModule", "augment": {"_target_": "subprocess.run"}},
            r"thing\.augment\._target_=subprocess\.run is not allowed",
        ),
    ],
)
def test_a_wrong_node_gets_one_sentence(node: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check(node, "thing", given=("params",))


def test_flatten_joins_the_keys_of_nested_dictionaries() -> None:
    tree = {"model": {"width": 4, "blocks": {}}, "seed": 0}
    assert flatten(tree) == {"model.width": 4, "model.blocks": {}, "seed": 0}
    assert flatten(tree, "/") == {"model/width": 4, "model/blocks": {}, "seed": 0}


@pytest.mark.parametrize("old", MOVED)
def test_a_target_that_has_moved_is_found_by_its_old_name(old: str) -> None:
    given = ("root", "dirpath")
    assert (
        check({"_target_": old}, "thing", given=given).target is check({"_target_": MOVED[old]}, "thing", given).target
    )
