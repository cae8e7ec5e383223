"""Servers, in processes of their own, that must be told their port."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def serve(command: Callable[[int], list[Any]], **how: Any) -> tuple[subprocess.Popen, int]:
    """Start one and wait until it listens; again if somebody else was quicker to take the port: process and port.

    Args:
        command: of a port.
        how: Popen's other arguments.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(command(port), **quiet, **how)
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return process, port
            time.sleep(0.05)
    raise AssertionError(f"{command(port)} does not listen")
