"""The server that commands are forked from: it has imported what they need, once for all processes of the tests.

It is multiprocessing's fork server. This module imports nothing that takes seconds, because conftest.py imports it.
"""

import multiprocessing.forkserver
import os
from functools import cache
from pathlib import Path

import pytest

PRELOADED = (
    "support.no_garbage_collection",
    "lightning.pytorch", "colorlab.train.__main__", "colorlab.data.color_histogram", "colorlab.models",
    "colorlab.loggers", "colorlab.callbacks.evaluation", "colorlab.callbacks.interruption",
    "wandb.sdk.launch",  # wandb.init imports it, which takes seconds
    "support.command_process", "support.fault_injection",
)  # fmt: skip

ADDRESS = "COLORLAB_TESTS_FORK_SERVER"
"""The environment variable by which pytest-xdist's workers find the server of the controlling process."""


@cache
def start_server() -> None:
    """Start the server, or join the one of pytest-xdist's controlling process.

    multiprocessing has one such server per process: a test that uses it by other means calls this first.
    """
    server = multiprocessing.forkserver._forkserver
    if ADDRESS in os.environ:
        server._forkserver_address = os.environ[ADDRESS]
        server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # the controlling process keeps it alive
        server.ensure_running = lambda: None
        return
    server.set_forkserver_preload(list(PRELOADED))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        server.ensure_running()


def share_server() -> None:
    """Start the server for the workers that pytest-xdist is about to start."""
    start_server()
    os.environ[ADDRESS] = multiprocessing.forkserver._forkserver._forkserver_address
