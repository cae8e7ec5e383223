"""A real mlflow server on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen


@contextmanager
def mlflow_server(where: Path) -> Iterator[tuple[str, int]]:
    """Its address and its process group; its database is in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    command = [Path(sys.executable).with_name("mlflow"), "server", *words]
    lean = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # it would start more processes
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=where, env=lean, start_new_session=True, **quiet)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        with suppress(OSError), urlopen(f"{address}/health") as reply:
            assert reply.status == 200
            break
        time.sleep(0.2)
    yield address, process.pid
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
