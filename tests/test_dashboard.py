"""The wandb workspace: published to a small GraphQL server on loopback, or written to a file."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from colorlab.dashboard import LOSS

KEY = "0123456789abcdef" * 2 + "01234567"


class Wandb(BaseHTTPRequestHandler):
    """As much of wandb's server as publishing needs; it keeps what was asked of it."""

    views: ClassVar[list[dict[str, Any]]] = []
    refuses: ClassVar[bool] = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "upsertView" not in asked["query"]:
            viewer = {
                "id": "1",
                "entity": "team",
                "username": "u",
                "flags": "{}",
                "teams": {"edges": []},
                "admin": False,
            }
            return self.reply({"data": {"viewer": viewer, "serverInfo": {}}})
        if self.refuses:
            return self.reply({"errors": [{"message": "permission denied"}], "data": {"upsertView": None}})
        self.views.append(asked["variables"])
        view = {"id": "abc", "name": asked["variables"]["name"]}
        return self.reply({"data": {"upsertView": {"view": view, "inserted": True}}})

    def reply(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Wandb)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def dashboard(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the command, logged in or not: in a process, because wandb remembers who is."""
    kept = {key: value for key, value in os.environ.items() if key not in ("WANDB_MODE", "WANDB_API_KEY")}
    command = [sys.executable, "-m", "colorlab.dashboard", *words]
    surroundings = kept | {"NETRC": str(cwd / "nobody")} | environment
    return subprocess.run(command, cwd=cwd, env=surroundings, text=True, capture_output=True, timeout=120)


def panels_of(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def test_who_is_logged_in_gets_the_workspace_published(address: str, tmp_path: Path) -> None:
    done = dashboard("fish", cwd=tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    (view,) = Wandb.views
    Wandb.views.clear()
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("team", "fish", "colorlab")
    assert f"{address}/team/fish" in done.stdout
    panels = panels_of(json.loads(view["spec"]))
    assert list(panels) == ["Loss", "What makes the loss", "Quality", "Pictures", "Speed"]
    assert list(tmp_path.iterdir()) == []


def test_what_wandb_refuses_is_said_in_a_sentence(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wandb, "refuses", True)
    done = dashboard("other/fish", cwd=tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
    assert done.returncode == 2
    assert "wandb did not take the dashboard" in done.stderr
    assert "permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_is_not_logged_in_gets_its_definition(tmp_path: Path) -> None:
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
