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
    """Run a server with its database in `folder`; return its address and process group.

    This is what `mlflow server` starts, with the variables it passes on (mlflow.server.constants); its own process
    would take seconds to import mlflow first.
    """
    command = (sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--host", "127.0.0.1", "--port")
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
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
