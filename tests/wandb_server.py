"""As much of wandb's server, on loopback, as its own commands ask of it: it keeps what it is told."""

import gzip
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef" * 2 + "01234567"
PROJECT = {"id": "p", "name": "colorlab", "entity": {"id": "e", "name": "team"}}


class WandbServer(ThreadingHTTPServer):
    """The server; every answer that wandb could do without is empty.

    Args:
        views: the variables of each workspace that was published.
        refuses: whether workspaces are refused.
        sweep: the configuration of the sweep, as `wandb sweep` sent it.
        draws: what the sweep's agents are told to train next, {key: value} of each.
        runs: the variables of each message on a run.
        files: the content of what runs uploaded, by name.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.views: list[dict[str, Any]] = []
        self.refuses = False
        self.sweep: str | None = None
        self.draws: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}

    def handle_error(self, *_: object) -> None:
        """Nothing: wandb drops connections when it ends."""

    def surroundings(self, home: Path) -> dict[str, str]:
        """The environment of somebody who is logged in here."""
        return logged_in(home, self.address)

    def answer(self, query: str, told: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" in query:
            self.views.append(told)
            return {"upsertView": {"view": {"id": "abc", "name": told["name"]}, "inserted": True}}
        if "upsertSweep" in query:
            self.sweep = told["config"]
            return {"upsertSweep": {"sweep": {"name": "sweep1", "project": PROJECT}, "configValidationWarnings": []}}
        if "SweepWithRuns" in query:
            return {"project": {"sweep": {"id": "s", "name": "sweep1", "config": self.sweep, "runs": {"edges": []}}}}
        if "createAgent" in query:
            return {"createAgent": {"agent": {"id": "a"}}}
        if "agentHeartbeat" in query:
            commands = [] if json.loads(told["runState"]) else [self.next_command()]
            return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}
        if "upsertBucket" in query:
            self.runs.append(told)
            run = {"id": "r", "name": told["name"], "sweepName": told["sweep"], "project": PROJECT, "config": "{}"}
            return {"upsertBucket": {"bucket": run, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/{name}"} for name in told["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            who = {"id": "1", "entity": "team", "username": "u", "flags": "{}", "teams": {"edges": []}, "admin": False}
            return {"viewer": who, "serverInfo": {}}
        return {}

    def next_command(self) -> dict[str, Any]:
        """What an agent without a run is to do."""
        if not self.draws:
            return {"type": "exit"}
        drawn = {key: {"value": value} for key, value in self.draws.pop(0).items()}
        return {"type": "run", "run_id": f"run{len(self.draws)}", "program": "colorlab.train", "args": drawn}


class Handler(BaseHTTPRequestHandler):
    """What comes over the wire."""

    server: WandbServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/graphql":  # numbers of a run as it goes on, and wandb's own telemetry
            return self.reply({})
        asked = json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        if self.server.refuses and "upsertView" in asked["query"]:
            return self.reply({"errors": [{"message": "permission denied"}], "data": {"upsertView": None}})
        return self.reply({"data": self.server.answer(asked["query"], asked.get("variables") or {})})

    def do_PUT(self) -> None:
        self.server.files[self.path[1:]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply({})

    def reply(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def logged_out(home: Path) -> dict[str, str]:
    """The environment of somebody who never logged in to wandb."""
    ours = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_SILENT")
    return {key: value for key, value in os.environ.items() if key not in ours} | {"NETRC": str(home / "nobody")}


def logged_in(home: Path, address: str) -> dict[str, str]:
    """The environment of somebody who is logged in at that address."""
    return {**logged_out(home), "WANDB_BASE_URL": address, "WANDB_API_KEY": KEY}


def serve(address: Connection) -> None:
    """A server in a process of its own, which tells its address."""
    server = WandbServer()
    address.send(server.address)
    server.serve_forever()


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
