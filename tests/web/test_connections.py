"""Connections on which nothing happens are closed, others are not."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from colorlab.web import connections, requests
from colorlab.web.requests import ShortBodies
from colorlab.web.serving import listen


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Serve a page that replies after a second, or with 40 MB; connections are looked at ten times a second."""
    for name, value in (("HEAD_SECONDS", 0.4), ("TICK", 0.1), ("STALLED_SECONDS", 0.5), ("MOST_CONNECTIONS", 10)):
        monkeypatch.setattr(connections, name, value)
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.4)
    app = FastAPI()
    app.add_middleware(ShortBodies, limit=100)

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(1)
        return "done"

    @app.post("/long")
    def long(given: dict) -> str:
        return "x" * 40_000_000

    with listen("127.0.0.1", 0, "") as listening:
        server = listening.server(app, log_level="critical")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening.listener]})
        thread.start()
        yield listening.listener.getsockname()
        server.should_exit = server.force_exit = True
        thread.join()


def ends_after(line: socket.socket) -> float:
    """Return the seconds until the other side closes the connection; drops what arrives."""
    began = time.monotonic()
    try:
        while line.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


HEAD = b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [b"", b"G", HEAD])
def test_a_connection_without_a_request_is_closed(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address, timeout=60) as line:
        line.sendall(sent)
        assert 0.2 < ends_after(line) < 5


def test_a_slow_reply_is_waited_for(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as line:
        line.sendall(HEAD + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 200")


def test_a_trickled_body_is_dropped(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as line:
        line.sendall(b"POST /long HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90\r\n\r\n{")
        assert line.recv(100).startswith(b"HTTP/1.1 408")


def test_a_visitor_who_does_not_read_is_dropped(address: tuple[str, int]) -> None:
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(60)
        line.connect(address)
        line.sendall(
            b"POST /long HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        time.sleep(3)
        received = 0
        try:
            while more := line.recv(65_536):
                received += len(more)
        except ConnectionResetError:
            pass
        assert received < 40_000_000


def test_with_many_connections_the_oldest_unused_one_is_closed(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 60)
    lines = [socket.create_connection(address, timeout=60) for _ in range(30)]
    lines[-1].sendall(HEAD + b"\r\n")
    assert lines[-1].recv(100).startswith(b"HTTP/1.1 200")
    assert ends_after(lines[0]) < 5
    for line in lines:
        line.close()
