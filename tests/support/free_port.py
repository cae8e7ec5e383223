"""Start a server that must be given its port as an argument."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def start_on_free_port(command: Callable[[int], list[Any]], **options: Any) -> tuple[subprocess.Popen, int]:
    """Start the server and wait until it accepts connections; try again if another process has taken the port.

    Args:
        command: the server's command line for a port.
        options: further arguments of Popen.

    Returns:
        The process and its port.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(command(port), **quiet, **options)
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return process, port
            time.sleep(0.05)
    raise AssertionError(f"{command(port)} does not listen")
