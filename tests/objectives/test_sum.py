"""The weighted sum of objectives."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from colorlab.bins import COUNT
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.objectives import Classification, Objective, Prediction, Sum
from colorlab.objectives.objective import terms_of
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.commands import SMALL, Command, train_exit_code
from support.objectives import given

PHOTOGRAPHS = find_photographs(SAMPLES)


class Two(Objective):
    """Two terms."""

    def forward(self, prediction: Prediction, batch: object) -> dict[str, Tensor]:
        return {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}


def test_terms_are_named_weighted_and_nested(ab: Tensor) -> None:
    logits = torch.randn(4, COUNT, 16, 16)
    _, batch = given(logits, ab)
    prediction = Prediction(torch.zeros_like(ab), logits)
    objective = Sum(
        {"l1": nn.L1Loss(), "bins": Classification(), "two": Two(), "more": Sum({"mse": nn.MSELoss()}, {"mse": 2.0})},
        {"l1": 0.5, "two": 3.0, "more": 10.0},
    )
    terms = terms_of(objective, prediction, batch)
    assert list(terms) == ["l1", "bins", "two/a", "two/b", "more/mse"]
    expected = [
        0.5 * ab.abs().mean().item(), Classification()(*given(logits, ab)).item(), 3.0, 6.0,
        20.0 * ab.square().mean().item(),
    ]  # fmt: skip
    assert [term.item() for term in terms.values()] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("terms", "weights", "sentence"),
    [
        ({}, None, r"objective\.terms is empty"),
        ({"l1": nn.L1Loss()}, {"l2": 1.0}, r"objective\.weights\.l2 belongs to no term: choose from: l1"),
        ({"l1": nn.L1Loss()}, {"l1": float("nan")}, r"objective\.weights\.l1=nan must be finite"),
        ({"a/b": nn.L1Loss()}, None, r"objective\.terms\.a/b: take another name"),
        ({"type": nn.L1Loss()}, None, r"objective\.terms\.type: take another name"),
    ],
)
def test_invalid_arguments_are_refused(terms: dict, weights: dict | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Sum(terms, weights)


def test_a_sum_is_composed_on_the_command_line_and_its_terms_are_logged(train: Command, tmp_path: Path) -> None:
    quick = (
        "callbacks.curves=null",
        "callbacks.comparison=null",
        "metrics=[psnr]",
        "data=folder",
        "data.root=photos",
        "data.workers=0",
    )
    for split, names in (("train", PHOTOGRAPHS[:4]), ("val", PHOTOGRAPHS[4:6])):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for name in names:
            shutil.copy(SAMPLES / name, tmp_path / "photos" / split)
    rare = "+objective.terms.rare={_target_: colorlab.objectives.RebalancedClassification}"
    weights = "objective.weights={rare: 0.5}"
    done = train(*SMALL, *quick, "objective=sum", "model.head=bins", rare, weights, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "run")
    assert yaml.safe_load(run.config.read_text())["objective"] == {
        "_target_": "colorlab.objectives.Sum",
        "terms": {
            "l1": {"_target_": "torch.nn.L1Loss"},
            "rare": {"_target_": "colorlab.objectives.RebalancedClassification"},
        },
        "weights": {"rare": 0.5},
    }
    assert run.prior.exists(), "the photographs' colors are counted for a term, too"
    metrics = read_metrics(run)
    for stage in ("train", "val"):
        terms = [metrics[f"{stage}/loss/{name}"] for name in ("l1", "rare")]
        for epoch, loss in metrics[f"{stage}/loss"].items():
            assert sum(term[epoch] for term in terms) == pytest.approx(loss, rel=1e-5)
        assert sorted(metrics[f"{stage}/loss"]) == [0, 1]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+objective.terms.x={_target_: torch.nn.L1Loss, sum: 1}", r"Unknown key objective\.terms\.x\.sum"),
        ("+objective.terms.x={_target_: colorlab.objectives.Classification}", r"add model\.head=bins"),
    ],
)
def test_a_wrong_term_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture, override: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, *SMALL, "objective=sum", override, "hydra.run.dir=run") == 2
    assert re.search(sentence, capsys.readouterr().err)
