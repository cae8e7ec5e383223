"""Checking and building configuration, and every recipe in conf/."""

import pydoc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from lightning import Callback
from omegaconf import OmegaConf

from colorlab.config import MOVED, check, conf_folder, flatten, locate, plain
from colorlab.errors import UserError
from colorlab.train.experiment import Experiment

CONF = conf_folder()
GROUPS = ("model", "optim", "schedule", "objective", "data", "callbacks", "logger", "trainer", "experiment")
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]

ON_BINS = [f"objective={name}" for name in ("classification", "rebalanced_classification", "zhang2016")]


def composed(*overrides: str, folder: Path) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        where = f"hydra.runtime.output_dir={folder}"
        cfg = compose("train", [*overrides, where], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return plain(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))


RECIPES = [
    pytest.param(choice, marks=[pytest.mark.slow] * (choice not in ("experiment=zhang2016", "experiment=ddcolor")))
    for choice in CHOICES
    if choice.startswith("experiment=")
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_takes_every_other_choice_of_every_group(recipe: str, tmp_path: Path) -> None:
    """What a recipe sets beside its own choices must be known to all others: its keys stay when they change.

    DDColor has no bins, which some objectives set.
    """
    known = [choice for choice in CHOICES if recipe != "experiment=ddcolor" or choice not in ON_BINS]
    others = [[choice for choice in known if choice.startswith(f"{group}=")] for group in GROUPS[1:-1]]
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
        ({"_target_": "colorlab.data.ColorDataModule", "roots": 3}, r"roots=3 must be a list of texts or dictionaries"),
        (
            {"_target_": "colorlab.data.ColorDataModule", "augment": 3},
            r"augment=3 must be a list of Augmentations or null",
        ),
        (
            {"_target_": "colorlab.data.ColorDataModule", "augment": {"_target_": "subprocess.run"}},
            r"thing\.augment\._target_=subprocess\.run is not allowed",
        ),
    ],
)
def test_a_wrong_node_gets_one_sentence(node: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check(node, "thing", given=("params",))


class Holder(torch.nn.Module):
    """Takes nested targets in every kind of container."""

    def __init__(
        self,
        modules: dict[str, torch.nn.Module],
        steps: Sequence[torch.nn.Module] | None = None,
        anything: Any = None,
        names: list[str] | None = None,
        count: int = 0,
    ) -> None:
        super().__init__()
        self.modules_, self.steps, self.anything, self.names = modules, steps, anything, names


class Shown(Protocol):
    """A protocol with an attribute, of which Python cannot tell whether a class has it."""

    title: str


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the `_target_` of `Holder`."""
    monkeypatch.setattr(torch.nn, "Holder", Holder, raising=False)
    return "torch.nn.Holder"


def test_targets_in_lists_and_dicts_are_checked_built_and_written_back(holder: str) -> None:
    l1, relu = {"_target_": "torch.nn.SmoothL1Loss", "beta": 2.0}, {"_target_": "torch.nn.ReLU", "inplace": True}
    node = {
        "_target_": holder,
        "modules": {"smooth": l1, "nested": {"_target_": holder, "modules": {"inner": relu}}},
        "steps": [relu, relu],
        "anything": {"deep": [{"er": [l1, 3, "text"]}]},
        "names": ["a"],
    }
    plan = check(node, "thing")
    assert plan.node() == node
    built = plan.build()
    assert built.modules_["smooth"].beta == 2.0
    assert built.modules_["nested"].modules_["inner"].inplace
    assert [type(step) for step in built.steps] == [torch.nn.ReLU, torch.nn.ReLU]
    loss, number, text = built.anything["deep"][0]["er"]
    assert (loss.beta, number, text) == (2.0, 3, "text")
    assert plan.build().modules_["smooth"] is not built.modules_["smooth"], "each build makes new objects"


def test_nested_plans_can_be_changed(holder: str) -> None:
    loss = {"_target_": "torch.nn.SmoothL1Loss"}
    plan = check({"_target_": holder, "modules": {"a": loss}, "steps": [loss]}, "thing")
    changed = plan.with_nested(lambda each: each.with_arguments(beta=3.0) if each.accepts("beta") else each)
    built = changed.build()
    assert (built.modules_["a"].beta, built.steps[0].beta) == (3.0, 3.0)
    assert plan.build().modules_["a"].beta == 1.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"modules": {"a": {"_target_": "os.system"}}}, r"thing\.modules\.a\._target_=os\.system is not allowed"),
        ({"modules": {"a": {"_target_": "torch.nn.ReLU", "x": 1}}}, r"Unknown key thing\.modules\.a\.x"),
        ({"modules": {}, "steps": [{"_target_": "torch.nn.ReLU", "x": 1}]}, r"Unknown key thing\.steps\[0\]\.x"),
        ({"modules": {"a": {"_target_": "torch.nn.ReLU"}, "b": 3}}, r"thing\.modules\.b=3 must be of type Module"),
        ({"modules": {"a": {"inplace": True}}}, r"thing\.modules=.* must be"),
        ({"modules": {}, "names": [{"_target_": "torch.nn.ReLU"}]}, r"thing\.names\[0\] must be a text"),
        ({"modules": {}, "count": [{"_target_": "torch.nn.ReLU"}]}, r"thing\.count must be a whole number, and not a"),
        ({"modules": {}, "anything": [[{"_target_": "os.system"}]]}, r"thing\.anything\[0\]\[0\]\._target_=os\.system"),
    ],
)
def test_a_wrong_nested_node_gets_one_sentence(holder: str, arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check({"_target_": holder, **arguments}, "thing")


@pytest.mark.parametrize(
    "name", ["colorlab.study.database.StudyDatabase", "colorlab.runs.folder.RunFolder", "colorlab.errors.UserError"]
)
@pytest.mark.parametrize("kind", [None, torch.nn.Module, Path, Any, Shown, Shown | None, list[torch.nn.Module]])
def test_a_class_of_colorlab_stands_only_where_its_kind_is_wanted(name: str, kind: Any) -> None:
    with pytest.raises(UserError, match="does not make what belongs here"):
        locate(name, "thing._target_=", kind)


@pytest.mark.parametrize("kind", [None, Any, Shown, Shown | None, torch.nn.Module, torch.nn.Module | str])
def test_a_module_stands_where_it_is_wanted_or_where_no_kind_is_told(kind: Any) -> None:
    for name in ("torch.nn.ReLU", "colorlab.models.CUNet"):
        assert locate(name, "thing._target_=", kind).__name__ == name.rpartition(".")[2]
    with pytest.raises(UserError, match="does not make what belongs here: of type Callback"):
        locate("torch.nn.ReLU", "thing._target_=", Callback)


def test_flatten_joins_the_keys_of_nested_dictionaries() -> None:
    tree = {"model": {"width": 4, "blocks": {}}, "seed": 0}
    assert flatten(tree) == {"model.width": 4, "model.blocks": {}, "seed": 0}
    assert flatten(tree, "/") == {"model/width": 4, "model/blocks": {}, "seed": 0}


@pytest.mark.parametrize("old", MOVED)
def test_a_target_that_has_moved_is_found_by_its_old_name(old: str) -> None:
    new = pydoc.locate(MOVED[old])
    assert check({"_target_": old}, "thing", given=("root", "dirpath"), kind=new).target is new
