"""Names and texts of a foreign run that a terminal or a spreadsheet would obey."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from colorlab.leaderboard.show import show_leaderboard
from colorlab.runs.folder import RunFolder

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
"""Sets the title of a terminal, and clears its screen."""


def write_foreign_run(folder: Path, text: str, name: str = "run") -> RunFolder:
    """Write a run's folder whose every text is, or begins with, the given one."""
    run = RunFolder(folder / name)
    run.path.mkdir(parents=True)
    best = {"monitor": f"{text}val/loss", "mode": "min"}
    config = {"callbacks": {"best": best}, "trainer": {"max_epochs": text}, "objective": {"_target_": text}}
    run.write_configuration(config, [f"{text}=1", f"optim.lr={text}"])
    status = {"status": text, "reason": text, "overrides": [f"{text}=1", f"optim.lr={text}", "optim.decay=-1.2"]}
    run.path.joinpath("status.json").write_text(json.dumps(status))
    names = ["epoch", "step", "val/loss", f"{text}val/loss", f"test/{text}"]
    with run.metrics.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([names, [0, 1, 0.5, 0.5, 0.5]])
    return run


@pytest.mark.parametrize(
    "text", [ESCAPE, "\x9b2J", "\u202eevil", "\ud800", "a\rb\nc\td", "[/red]", "=1+1", "+1+1", "-1+cmd|' /C calc'!A0",
             "@SUM(1)", "\t=1", "\r=1", "＝1+1"],
)  # fmt: skip
def test_no_text_of_a_foreign_run_is_a_command_of_a_terminal_or_a_formula(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture, tally: Any
) -> None:
    with tally.injecting("a text of a foreign run is a terminal's command or a spreadsheet's formula"):
        write_foreign_run(tmp_path, text)
        write_foreign_run(tmp_path, "honest", os.fsdecode(b"x\xff\x1b[2Jy"))
        show_leaderboard([tmp_path], tmp_path)
        printed = capsys.readouterr().out
        table = (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")
        for shown in (printed, table):
            assert all(character.isprintable() for character in shown.replace("\r", "").replace("\n", ""))
        rows = list(csv.DictReader(io.StringIO(table)))
        assert len(rows) == 2
        cells = [cell for row in rows for cell in (*row, *row.values())]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "＝")) or cell.startswith("-1+")]
        page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
        assert "\x1b" not in page
