"""The wandb workspace: published to a small GraphQL server on loopback, or written to a file."""

import json
import subprocess
from pathlib import Path
from typing import Any

from colorlab.dashboard import LOSS
from support.command_process import run_forked
from support.wandb_server import WandbServer, logged_out


def dashboard(*words: str, cwd: Path, server: WandbServer | None = None) -> subprocess.CompletedProcess:
    """Run the command in its own process, because wandb remembers the login; a server means logged in."""
    return run_forked("dashboard", *words, cwd=cwd, env=server.environment(cwd) if server else logged_out(cwd))


def panels_of(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def test_with_a_login_the_workspace_is_published(wandb_server: WandbServer, tmp_path: Path) -> None:
    done = dashboard("fish", cwd=tmp_path, server=wandb_server)
    assert done.returncode == 0, done.stderr
    (view,) = wandb_server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("team", "fish", "colorlab")
    assert f"{wandb_server.address}/team/fish" in done.stdout
    panels = panels_of(json.loads(view["spec"]))
    assert list(panels) == ["Loss", "What makes the loss", "Quality", "Pictures", "Speed"]
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_wandb_is_reported_in_one_sentence(wandb_server: WandbServer, tmp_path: Path) -> None:
    wandb_server.refuses = True
    done = dashboard("other/fish", cwd=tmp_path, server=wandb_server)
    assert done.returncode == 2
    assert "wandb did not save the dashboard" in done.stderr
    assert "permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_login_the_definition_is_written(tmp_path: Path) -> None:
    done = dashboard("team/fish", "-o", "board.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "You are not logged in to wandb" in done.stdout
    view = json.loads((tmp_path / "board.json").read_text())
    assert (view["entity"], view["project"]) == ("team", "fish")
    panels = panels_of(view["spec"])
    kinds = {panel["viewType"] for section in panels.values() for panel in section}
    assert kinds == {
        "Run History Line Plot", "Bar Chart", "Scatter Plot", "Parallel Coordinates Plot", "Parameter Importance",
        "Media Browser",
    }  # fmt: skip
    (sweep,) = (panel for panel in panels["What makes the loss"] if panel["viewType"] == "Parallel Coordinates Plot")
    accessors = [column["accessor"] for column in sweep["config"]["columns"]]
    assert {"config:model.value.name", "config:optim.value.lr", f"summary:{LOSS}"} <= set(accessors)
    curves = [panel for section in panels.values() for panel in section if panel["viewType"] == "Run History Line Plot"]
    assert {panel["config"]["xAxis"] for panel in curves} == {"epoch"}
