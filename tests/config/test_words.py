"""The words of a command on their way to Hydra."""

from inspect import signature
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.main import get_args_parser
from lightning import Trainer

from colorlab.config.words import ALIASES, INFO_OPTIONS, OPTIONS, OPTIONS_WITH_VALUE, TEXT_KEYS, as_hydra_takes, as_list
from colorlab.errors import UserError
from colorlab.train.experiment import KEYS


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("checkpoint=a.ckpt", "checkpoint=['a.ckpt']"),
        ("checkpoint=a b.ckpt,/c=d/e.ckpt", "checkpoint=['a b.ckpt','/c=d/e.ckpt']"),
        ("checkpoint='a.ckpt'", "checkpoint=['a.ckpt']"),
        ("checkpoint=o'hara.ckpt", r"checkpoint=['o\'hara.ckpt']"),
        ("checkpoint=['a,b.ckpt']", "checkpoint=['a,b.ckpt']"),
        ("checkpoint=null", "checkpoint=null"),
        ("data.root=a,b", "data.root=a,b"),
    ],
)
def test_names_with_commas_between_them_are_a_list(typed: str, meant: str) -> None:
    assert as_list([typed, "split=all"], "checkpoint") == [meant, "split=all"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["optim.lr=1", "hydra.run.dir=x", "seed=3"], ["++optim.lr=1", "hydra.run.dir=x", "seed=3"]),
        (["optim={_target_: torch.optim.SGD}"], ["++optim={_target_: torch.optim.SGD}"]),
        (["schedule={_target_:a.B,c:1}"], ["~schedule", "++schedule={_target_:a.B,c:1}"]),
        (["~schedule", "++schedule={_target_:a.B}"], ["~schedule", "++schedule={_target_:a.B}"]),
        (["data.augment=[{_target_:a.B}]"], ["++data.augment=null", "++data.augment=[{_target_:a.B}]"]),
        (["data.roots=[a,b]"], ["++data.roots=[a,b]"]),
        (["schedule=cosine", "callbacks.mine={_target_:a.B}"], ["schedule=cosine", "++callbacks.mine={_target_:a.B}"]),
    ],
)
def test_dotted_keys_and_nodes_may_name_keys_that_no_file_lists(typed: list[str], meant: list[str]) -> None:
    assert as_hydra_takes(typed, KEYS) == meant


@pytest.mark.parametrize("key", ["data.root", "resume", "model.weights", "hydra.run.dir", "run.notes"])
@pytest.mark.parametrize(
    "text",
    [
        "~/photos", "/x/Ann's photos", "/x/my trip (2019)", "/x/Ünïcode", "/x/a b", "/x/a=b", "runs/lr=0.1", "a,b",
        "/x/{a}", "/x/[1]", "/x/$y", "/x/a;b", "/x/100%", "C:\\photos", "/x/a\\'b", "/x/", "12", "1e3", "true",
        "/x/a:b", 'it is "good"', "/x/#1", "/x/a&b", "/x/a*b?", "x\\", "新しい写真",
    ],
)  # fmt: skip
def test_a_path_or_a_text_needs_no_quotes(key: str, text: str) -> None:
    (word,) = as_hydra_takes([f"{key}={text}"], KEYS)
    assert OverridesParser.create().parse_override(word).value() == text
    assert as_hydra_takes([word.removeprefix("++")], KEYS) == [word], "what is recorded means the same again"


@pytest.mark.parametrize(
    "word",
    [
        "data.root='/x/my trip'", 'data.root="/x/a,b"', "data.root=null", "resume=null", "data.root=${oc.env:HOME}/x",
        "data.root=/x/photos", "optim.lr=1e-3", "optim.betas=[0.9,0.99]", "model.head=bins", "~callbacks.curves",
        "+model.foo=3", "logger=[wandb,csv]", "schedule.lr=[[0,1],[10,0.1]]", "optim.lr=range(1,3)",
        "hydra/launcher=joblib", "objective.terms={a:1}",
    ],
)  # fmt: skip
def test_what_hydra_reads_rightly_is_left_alone(word: str) -> None:
    (taken,) = as_hydra_takes([word], KEYS)
    assert taken.removeprefix("++") == word


def test_paths_with_a_comma_between_them_are_swept_in_a_multirun(tmp_path: Path) -> None:
    assert as_hydra_takes(["-m", "data.root=a,b"], KEYS) == ["++data.root=a,b", "-m"]
    (tmp_path / "a,b").mkdir()
    assert as_hydra_takes(["-m", f"data.root={tmp_path}/a,b"], KEYS) == [f"++data.root='{tmp_path}/a,b'", "-m"]


def test_overrides_may_stand_between_and_behind_hydras_options() -> None:
    words = ["--config-dir", "mine", "seed=1", "--info", "plugins", "-m", "seed=2", "--cfg=job", "-cjob"]
    options = ["--config-dir", "mine", "--info", "plugins", "-m", "--cfg=job", "-cjob"]
    assert as_hydra_takes(words, KEYS) == ["seed=1", "seed=2", *options]


def test_the_options_are_those_of_hydra() -> None:
    actions = [action for action in get_args_parser()._actions if action.option_strings]
    assert {name for action in actions for name in action.option_strings} == set(OPTIONS)
    valued = {name for action in actions for name in action.option_strings if action.nargs is None}
    assert valued == set(OPTIONS_WITH_VALUE)
    assert {name for action in actions for name in action.option_strings if action.nargs == "?"} == set(INFO_OPTIONS)


def test_aliases_and_texts_are_of_keys_that_exist() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    for key in {*ALIASES.values(), *TEXT_KEYS}:
        group, _, name = key.partition(".")
        listed = group == "hydra" or f"| `{key}` |" in reference or key in KEYS
        assert listed or (group == "trainer" and name in signature(Trainer).parameters), key


MISTAKES = {
    "lr=1e-3": "Unknown key lr: did you mean optim.lr?",
    "learning_rate=1": "did you mean optim.lr?",
    "optim.learning_rate=1": "Unknown key optim.learning_rate: did you mean optim.lr?",
    "weight_decay=1": "did you mean optim.weight_decay?",
    "epochs=3": "did you mean trainer.max_epochs?",
    "max_epochs=3": "did you mean trainer.max_epochs?",
    "trainer.epochs=3": "did you mean trainer.max_epochs?",
    "max_steps=3": "did you mean trainer.max_steps?",
    "batch_size=4": "did you mean data.batch_size?",
    "batch=4": "did you mean data.batch_size?",
    "workers=2": "did you mean data.workers?",
    "data.num_workers=2": "did you mean data.workers?",
    "size=64": "did you mean data.size?",
    "root=/x": "did you mean data.root?",
    "dataset=/x": "did you mean data.root?",
    "device=cpu": "did you mean trainer.accelerator?",
    "gpus=1": "did you mean trainer.devices?",
    "precision=16": "did you mean trainer.precision?",
    "width=4": "did you mean model.width?",
    "head=bins": "did you mean model.head?",
    "weights=x": "did you mean model.weights?",
    "loss=l1": "did you mean objective?",
    "optimizer=adam": "did you mean optim?",
    "scheduler=cosine": "did you mean schedule?",
    "name=x": "did you mean run.name?",
    "patience=3": "did you mean callbacks.plateau.patience?",
    "data=/x/y": "data=/x/y: data chooses how photographs are read; did you mean data.root=/x/y?",
    "data=~/photos": "did you mean data.root=~/photos?",
    "--model=cunet": "--model=cunet: write model=cunet.",
    "--model cunet": "--model cunet: write model=cunet.",
    "-model=cunet": "-model=cunet: write model=cunet.",
    "model cunet": "model cunet: write model=cunet.",
    "model:cunet": "model:cunet: write model=cunet.",
    "model==cunet": "model==cunet: write model=cunet.",
    "cunet": "cunet: write model=cunet.",
    "demo": "demo: write experiment=demo.",
    "--epochs 10": "--epochs 10: write trainer.max_epochs=10.",
    "--lr=1e-3": "--lr=1e-3: write optim.lr=1e-3.",
    "--lr": "--lr is neither an option nor an override such as optim.lr=1e-3",
    "--multi-run": "--multi-run is neither an option nor an override",
    "train": "train is no override: write KEY=VALUE, such as model=cunet or optim.lr=1e-3.",
    "=": "= is no override: write KEY=VALUE",
    "": " is no override: write KEY=VALUE",
}
"""Words as typed, and the sentence wanted."""


@pytest.mark.parametrize("words", MISTAKES)
def test_a_word_that_is_no_override_or_a_key_of_other_programs_is_answered_with_ours(words: str) -> None:
    with pytest.raises(UserError) as refusal:
        as_hydra_takes(words.split(" "), KEYS)
    assert MISTAKES[words] in str(refusal.value)
    with pytest.raises(UserError) as refusal:
        as_hydra_takes([words], KEYS)  # "model cunet" in quotes
    if not words.startswith("--"):
        assert MISTAKES[words] in str(refusal.value)
