"""A stand-in for wandb's server on loopback: it answers what wandb's commands ask and keeps what they send."""

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
    """The server; answers that wandb does not need are empty.

    Attributes:
        views: the variables of each published workspace.
        refuses: whether to reject workspaces.
        sweep: the configuration that `wandb sweep` sent.
        draws: the overrides that the sweep's agents get, one dict for each run.
        runs: the variables of each message about a run.
        files: the content of the files that runs uploaded, by name.
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
        """Ignore the connections that wandb drops when it ends."""

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a user who is logged in to this server."""
        return logged_in(home, self.address)

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL query."""
        if "upsertView" in query:
            self.views.append(variables)
            return {"upsertView": {"view": {"id": "abc", "name": variables["name"]}, "inserted": True}}
        if "upsertSweep" in query:
            self.sweep = variables["config"]
            return {"upsertSweep": {"sweep": {"name": "sweep1", "project": PROJECT}, "configValidationWarnings": []}}
        if "SweepWithRuns" in query:
            return {"project": {"sweep": {"id": "s", "name": "sweep1", "config": self.sweep, "runs": {"edges": []}}}}
        if "createAgent" in query:
            return {"createAgent": {"agent": {"id": "a"}}}
        if "agentHeartbeat" in query:
            commands = [] if json.loads(variables["runState"]) else [self.next_command()]
            return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}
        if "upsertBucket" in query:
            self.runs.append(variables)
            run = {
                "id": "r",
                "name": variables["name"],
                "sweepName": variables["sweep"],
                "project": PROJECT,
                "config": "{}",
            }
            return {"upsertBucket": {"bucket": run, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            viewer = {
                "id": "1",
                "entity": "team",
                "username": "u",
                "flags": "{}",
                "teams": {"edges": []},
                "admin": False,
            }
            return {"viewer": viewer, "serverInfo": {}}
        return {}

    def next_command(self) -> dict[str, Any]:
        """Return the command for an agent that has no run."""
        if not self.draws:
            return {"type": "exit"}
        drawn = {key: {"value": value} for key, value in self.draws.pop(0).items()}
        return {"type": "run", "run_id": f"run{len(self.draws)}", "program": "colorlab.train", "args": drawn}


class Handler(BaseHTTPRequestHandler):
    """The HTTP side of the server."""

    server: WandbServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/graphql":  # a run's metrics, and wandb's telemetry
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
    """Return the environment of a user who never logged in to wandb."""
    removed = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_SILENT")
    return {key: value for key, value in os.environ.items() if key not in removed} | {"NETRC": str(home / "nobody")}


def logged_in(home: Path, address: str) -> dict[str, str]:
    """Return the environment of a user who is logged in at this address."""
    return {**logged_out(home), "WANDB_BASE_URL": address, "WANDB_API_KEY": KEY}


def serve_wandb(address: Connection) -> None:
    """Run a server in this process and send its address."""
    server = WandbServer()
    address.send(server.address)
    server.serve_forever()


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    """Run a server in a thread of the test's process."""
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
