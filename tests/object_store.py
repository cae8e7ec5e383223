"""A real S3 server on loopback: moto's."""

import secrets
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from on_free_port import serve

SERVER = Path(sys.executable).with_name("moto_server")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The server's address."""
    process, port = serve(lambda port: [SERVER, "-p", str(port)])
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of an empty place in a bucket, reachable by the usual variables; copies lie in `tmp_path`/cache."""
    name = secrets.token_hex(8)
    urllib.request.urlopen(urllib.request.Request(f"{s3}/{name}", method="PUT"))
    words = {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}
    for word, value in words.items():
        monkeypatch.setenv(f"AWS_{word}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"s3://{name}/deep/photographs"
