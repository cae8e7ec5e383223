"""An mlflow server on loopback."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from support.free_port import start_on_free_port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a server with its database in `folder`; return its address and process group."""
    command = (Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1", "--workers", "1", "--port")
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # fewer processes
    process, port = start_on_free_port(
        lambda port: [*command, str(port)], cwd=folder, env=environment, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None
            with suppress(OSError), urlopen(f"{address}/health") as reply:
                assert reply.status == 200
                break
            time.sleep(0.2)
        yield address, process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
