"""The table of ordinary, mixed runs on terminals of several widths."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from colorlab.leaderboard.board import make_board
from colorlab.leaderboard.summary import find_runs
from colorlab.leaderboard.table import print_table
from colorlab.runs.folder import RunFolder

FIRST = ["run", "model", "status", "best", "loss", "PSNR"]
"""The words of the first headings."""

RUNS = {
    "2026-11-25/09-12-33_eccv16": [],
    "2026-11-25/11-40-02_cunet": ["model=cunet", "optim.lr=1e-4"],
    "2026-11-25/18-05-59_unet": ["experiment=demo", "seed=3"],
    "2026-11-26/08-00-01_eccv16": ["objective=rebalanced_classification", "data.batch_size=64"],
    "2026-11-26/10-30-00_sweep/0_lr0.01_dropout0.5": ["optim.lr=0.01", "model=unet", "model.dropout=0.5"],
    "2026-11-27/07-07-07_eccv16": ["data.root=/photographs/of/the/whole/family", "schedule=cosine"],
}
"""Folders of runs, and the overrides typed for each."""

CLASSES = {"cunet": "CUNet", "eccv16": "ECCV16", "unet": "unet.UNet"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of runs with different models and overrides, and of one that was refused."""
    where = tmp_path_factory.mktemp("mixed")
    for place, (name, overrides) in enumerate(RUNS.items()):
        folder = RunFolder(where / name)
        folder.path.mkdir(parents=True)
        model = "unet" if "dropout" in name else name.rpartition("_")[2]
        values = dict(word.split("=") for word in overrides)
        config = {
            "seed": int(values.get("seed", 0)), "model": {"_target_": f"colorlab.models.{CLASSES[model]}"},
            "optim": {"lr": float(values.get("optim.lr", 1e-3))}, "trainer": {"max_epochs": 300},
        }  # fmt: skip
        folder.write_configuration(config, overrides)
        rows = [f"{epoch},{epoch},{0.0123 + place / 1000 - epoch / 10_000},{22 + place / 3}" for epoch in range(3)]
        folder.metrics.write_text("\n".join(["epoch,step,val/loss,val/psnr", *rows, ""]))
        (folder.path / "status.json").write_text('{"status": "interrupted", "started": "2026-11-25T10:00:00+01:00"}')
    refused = where / "2026-11-27" / "08-08-08_cunet"
    refused.mkdir()
    (refused / "status.json").write_text('{"status": "failed", "error": "UserError", "overrides": ["model=cunet"]}')
    return where


def shown(folder: Path, width: int, terminal: bool = True) -> list[str]:
    """Return the lines of the table."""
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_table(make_board(find_runs([folder])[0]), console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def words_in_column(lines: list[str], first: str, following: str | None) -> str:
    """Return all that stands between two headings, without line ends."""
    start = lines[0].index(first)
    end = lines[0].index(following) if following else None
    return "".join(line[start:end].strip() for line in lines[1:])


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_names_models_statuses_and_the_two_numbers_are_always_whole(width: int, mixed: Path) -> None:
    lines = shown(mixed, width)
    assert max(map(len, lines)) <= width
    assert lines[0].split()[: len(FIRST)] == FIRST
    names = words_in_column(lines, "run", " model")
    for name in RUNS:
        assert name in names
    assert "08-08-08" not in names, "a run that was refused is not listed"
    text = "\n".join(lines)
    assert text.count("interrupted") == len(RUNS)
    for place in range(len(RUNS)):
        assert f"{0.0123 + place / 1000 - 0.0002:#.5g}" in text
        assert f" {22 + place / 3:.2f}" in text
    assert "…" not in text


def test_the_model_is_filled_in_where_it_was_not_typed(mixed: Path) -> None:
    rows = [line.split() for line in shown(mixed, 400) if "interrupted" in line]
    assert {row[0]: row[1] for row in rows} == {
        name: "unet" if "dropout" in name else name.rpartition("_")[2] for name in RUNS
    }


def test_a_narrow_terminal_shows_the_overrides_typed_for_each_run_behind_the_numbers(mixed: Path) -> None:
    lines = shown(mixed, 80)
    assert lines[0].split() == [*FIRST, "overrides"]
    column = words_in_column(lines, "overrides", None)
    for words in RUNS.values():
        for word in words:
            if not word.startswith("model="):
                assert word.rpartition(".")[2].replace("1e-4", "0.0001") in column or word.partition("=")[2] in column


def test_a_wide_terminal_and_a_file_have_a_column_per_override(mixed: Path) -> None:
    for lines in (shown(mixed, 400), shown(mixed, 80, terminal=False)):
        headings = lines[0].split()
        assert headings[: len(FIRST)] == FIRST
        assert headings[len(FIRST) : len(FIRST) + 2] == ["optim.lr", "experiment"]
        assert headings.index("colorfulness") > headings.index("schedule"), "other numbers come last"


def test_a_name_without_a_place_to_break_is_broken_anywhere(tmp_path: Path) -> None:
    for name in ("a" * 100, "b"):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write_configuration({"model": {"_target_": "mylab.Net"}}, [])
    lines = shown(tmp_path, 80)
    assert max(map(len, lines)) <= 80
    assert "a" * 100 in words_in_column(lines, "run", " model")
    assert "Net" in lines[1]
