"""The experiment: checked once, changed by giving a new one, saved from itself."""

import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from colorlab import metrics
from colorlab.config import conf_folder, plain
from colorlab.errors import UserError
from colorlab.metrics import Colored, PictureMetric
from colorlab.train.experiment import Experiment


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        words = ["experiment=demo", "callbacks=plateau", "hydra.runtime.output_dir=run"]
        return compose("train", words, return_hydra_config=True)


@pytest.fixture
def cfg(composed: DictConfig) -> dict:
    HydraConfig.instance().set_config(composed)
    return plain(OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"]))


def test_what_is_saved_is_what_was_configured(cfg: dict) -> None:
    cfg["model"] |= {"compile": True, "weights": "start.ckpt", "freeze": ["encoder"]}
    cfg["optim"]["decay_norms_and_biases"] = False
    cfg["schedule"]["unit"] = "steps"
    experiment = Experiment.of(cfg)
    assert experiment.configuration() == cfg
    assert Experiment.of(experiment.configuration()) == experiment


def test_a_change_gives_a_new_experiment(cfg: dict) -> None:
    experiment = Experiment.of(cfg)
    changed = experiment.with_arguments("data", batch_size=7)
    assert changed.configuration()["data"]["batch_size"] == 7
    assert experiment.configuration() == cfg


def test_switches_of_the_run_are_no_arguments_of_the_network(cfg: dict) -> None:
    cfg["model"] |= {"compile": True, "weights": "start.ckpt"}
    experiment = Experiment.of(cfg)
    assert experiment.model_switches.compile
    assert experiment.model_switches.weights == "start.ckpt"
    assert not {"compile", "weights"} & experiment.model.arguments.keys()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("test", 1, "test=1 must be true or false."),
        ("seed", True, "seed=True must be a whole number."),
        ("seed", -1, "seed=-1 must be a whole number from 0 to"),
        ("metrics", "psnr", "metrics=psnr must be a list: metrics=[psnr,ssim]."),
        ("metrics", ["lpips"], "metrics=lpips is too slow for each validation"),
        ("resume", 3, "resume=3 must be a text or null."),
        ("sead", 3, "Unknown key sead: did you mean seed?"),
        ("data", "folder", "data=folder must be one of its group's files, data=NAME."),
    ],
)
def test_a_wrong_key_or_value_is_refused_in_a_sentence(cfg: dict, key: str, value: object, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        Experiment.of(cfg | {key: value})
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("optim", "trainer", "sentence"),
    [
        ({"_target_": "torch.optim.SparseAdam"}, {}, "optim: SparseAdam is for sparse gradients"),
        ({"_target_": "torch.optim.LBFGS"}, {"accumulate_grad_batches": 2}, "optim: LBFGS evaluates a batch several"),
        ({"_target_": "torch.optim.LBFGS"}, {"precision": "16-mixed"}, "optim: LBFGS does not work in"),
    ],
)
def test_an_optimizer_that_could_not_train_is_refused(cfg: dict, optim: dict, trainer: dict, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        Experiment.of(cfg | {"optim": optim, "trainer": cfg["trainer"] | trainer})
    assert str(refused.value).startswith(sentence)


def test_a_cosine_needs_a_length_if_nothing_but_time_ends_the_training(cfg: dict) -> None:
    cosine = {"_target_": "colorlab.schedules.Cosine"}
    endless = cfg | {"schedule": cosine, "trainer": cfg["trainer"] | {"max_epochs": -1, "max_time": "00:01:00:00"}}
    with pytest.raises(UserError, match=r"has no last epoch: add schedule\.length=N"):
        Experiment.of(endless)
    Experiment.of(endless | {"schedule": cosine | {"length": 20}})
    Experiment.of(endless | {"trainer": endless["trainer"] | {"max_steps": 1000}})


SUM = {
    "_target_": "colorlab.objectives.Sum",
    "terms": {
        "l1": {"_target_": "torch.nn.L1Loss"},
        "more": {"_target_": "colorlab.objectives.Sum", "terms": {"mse": {"_target_": "torch.nn.MSELoss"}}},
    },
}


@pytest.mark.parametrize("metric", ["val/loss/l1", "train/loss/l1", "val/loss/more/mse", "val/loss"])
def test_a_sweep_compares_by_a_term_of_the_loss(cfg: dict, metric: str) -> None:
    assert Experiment.of(cfg | {"objective": SUM, "sweep": {"metric": metric}}).sweep.metric == metric


@pytest.mark.parametrize(
    ("objective", "metric", "sentence"),
    [
        (
            SUM,
            "val/loss/l2",
            "sweep.metric=val/loss/l2 is not measured, objective has no such term: choose from: l1,",
        ),
        (SUM, "val/loss/more/l1", "objective.terms.more has no such term: choose from: mse."),
        (SUM, "val/loss/l1/x", "sweep.metric=val/loss/l1/x is not measured: objective.terms.l1 has no terms."),
        ({"_target_": "torch.nn.L1Loss"}, "val/loss/l1", "sweep.metric=val/loss/l1 is not measured: objective has no"),
        (SUM, "test/loss/l1", "sweep.metric=test/loss/l1 is not measured: see metrics, test"),
    ],
)
def test_a_term_that_the_objective_does_not_have_is_refused(
    cfg: dict, objective: dict, metric: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        Experiment.of(cfg | {"objective": objective, "sweep": {"metric": metric}, "test": False})


@pytest.mark.parametrize(
    ("group", "change", "sentence"),
    [
        ("optim", {"_target_": "torch.optim.LBFGS", "lr": 0.1}, "not trained with LBFGS"),
        ("trainer", {"_target_": "lightning.Trainer", "precision": "16-mixed"}, "not trained in 16-mixed"),
    ],
)
def test_what_a_critic_cannot_be_trained_with_is_refused_before_anything_is_built(
    cfg: dict, group: str, change: dict, sentence: str
) -> None:
    term = {"_target_": "colorlab.objectives.Adversarial"}
    nested = {"_target_": "colorlab.objectives.Sum", "terms": {"inner": term}}
    Experiment.of(cfg | {"objective": term})
    Experiment.of(cfg | {group: change})
    for objective in (term, {"_target_": "colorlab.objectives.Sum", "terms": {"outer": nested}}):
        with pytest.raises(UserError, match=sentence):
            Experiment.of(cfg | {"objective": objective, group: change})


class Counted(PictureMetric):
    """A metric of a plugin that counts how often it is built."""

    name, title, direction = "counted", "counted", "min"
    built = 0

    def __init__(self) -> None:
        Counted.built += 1

    def __call__(self, colored: Colored) -> Tensor:
        return colored.predicted.mean(dim=(1, 2, 3))


def test_the_metric_of_a_plugin_is_built_once(cfg: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "Counted", Counted, raising=False)
    monkeypatch.setattr(Counted, "__module__", "colorlab.metrics")
    for known in (metrics.METRICS, metrics.MEASURES):
        monkeypatch.setitem(known, "counted", None)
        del known["counted"]
    chosen = cfg | {"metrics": ["psnr", "colorlab.metrics.Counted"], "sweep": {"metric": "val/counted"}}
    assert Experiment.of(chosen).settings.metric_names == ["psnr", "counted"]
    assert Counted.built == 1
