"""README.md and the pages of docs/: their links, commands and examples."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from colorlab.config import check
from colorlab.data.batch import Batch
from colorlab.models import CUNet
from colorlab.objectives import Prediction
from colorlab.schedules import Constant

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = re.findall(r"^colorlab-(\w+) = ", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            place, _, anchor = link.partition("#")
            target = page.parent / place if place else page
            assert target.exists(), link
            assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    text, makefile = (path.read_text(encoding="utf-8") for path in (page, ROOT / "Makefile"))
    assert set(re.findall(r"python -m colorlab\.([a-z]\w*)", text)) <= set(COMMANDS)
    assert set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE)) <= set(
        re.findall(r"^(\w+):", makefile, re.MULTILINE)
    )


def test_every_command_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [command for command in COMMANDS if f"python -m colorlab.{command}" not in text]


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 250


def test_the_model_of_the_example_predicts_colors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (target,) = re.findall(r"^_target_: (\S+)", text, re.MULTILINE)
    file = tmp_path / "mynet.py"
    file.write_text(code, encoding="utf-8")
    name = target.rpartition(".")[0]
    spec = importlib.util.spec_from_file_location(name, file)
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, example)
    spec.loader.exec_module(example)
    model = check({"_target_": target, "width": 4}, "model").build()
    assert model(torch.full((1, 1, 20, 30), 50.0)).shape == (1, 2, 20, 30)


def test_the_objectives_of_the_examples_return_terms() -> None:
    text = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(code, names)
    ab = torch.full((1, 2, 4, 4), 10.0)
    terms = names["LightL1"]()(Prediction(ab), Batch(torch.full((1, 1, 4, 4), 50.0), ab - 2, torch.zeros(1)))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"l1": 1.0, "strength": 0.1})
    model = CUNet(width=2)
    model.prepare_training(names["Fooling"](), torch.optim.Adam, Constant())
    model.loss_terms.critics.begin()
    batch = Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 2, 16, 16), torch.zeros(2))
    assert model.loss_terms.in_training(Prediction(torch.rand(2, 2, 16, 16)), batch) > 0
    assert model.loss_terms.names == ["critic"]


def test_the_page_of_models_has_a_row_for_each_with_its_number_of_parameters() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)(?: model\.size=(\w+))?` \| ([\d,]+) \|", text, re.MULTILINE)
    assert {name for name, *_ in rows} == {file.stem for file in (ROOT / "conf" / "model").glob("*.yaml")}
    for name, size, number in rows:
        (target,) = re.findall(
            r"^_target_: (\S+)", (ROOT / "conf" / "model" / f"{name}.yaml").read_text(), re.MULTILINE
        )
        with torch.device("meta"):
            model = check({"_target_": target, **({"size": size} if size else {})}, "model").build()
        assert f"{sum(parameter.numel() for parameter in model.parameters()):,}" == number


def test_the_readme_lists_all_choices() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (`.*?`) \|", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
    listed = {group: sorted(re.findall(r"`(\w+)`", choices)) for group, choices in rows}
    folders = [folder for folder in (ROOT / "conf").iterdir() if folder.is_dir()]
    assert listed == {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}
