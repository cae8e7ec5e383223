"""An S3 server (moto) on loopback."""

import secrets
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.free_port import start_on_free_port

SERVER = Path(sys.executable).with_name("moto_server")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Start the server and return its address."""
    process, port = start_on_free_port(lambda port: [SERVER, "-p", str(port)])
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Create a bucket and return the URL of an empty folder in it.

    Its credentials are in the AWS_ environment variables; downloaded copies are cached in `tmp_path`/cache.
    """
    name = secrets.token_hex(8)
    urllib.request.urlopen(urllib.request.Request(f"{s3}/{name}", method="PUT")).close()
    variables = {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}
    for variable, value in variables.items():
        monkeypatch.setenv(f"AWS_{variable}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://{name}/deep/photographs"
