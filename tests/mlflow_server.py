"""A real mlflow server on loopback."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from on_free_port import serve


@contextmanager
def mlflow_server(where: Path) -> Iterator[tuple[str, int]]:
    """Its address and its process group; its database is in the folder."""
    command = (Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1", "--workers", "1", "--port")
    lean = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # it would start more processes
    process, port = serve(lambda port: [*command, str(port)], cwd=where, env=lean, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    while True:
        assert process.poll() is None
        with suppress(OSError), urlopen(f"{address}/health") as reply:
            assert reply.status == 200
            break
        time.sleep(0.2)
    yield address, process.pid
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
