"""Malicious and incomplete requests to the pages of the demo and the study."""

import http.client
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from colorlab.demo.server import Limits
from colorlab.demo.server import make_app as make_demo
from colorlab.models import CUNet
from colorlab.study.database import StudyDatabase
from colorlab.study.people import People
from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.server import Study
from colorlab.study.server import make_app as make_study
from colorlab.study.trials import VIGILANCE, Protocol
from support.web_pages import animation, serve, thin_picture


@pytest.fixture(params=["demo", "study"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Serve the demo or the study; return its name, and host and port."""
    if request.param == "demo":
        model = CUNet(width=2).eval()
        with serve(lambda hosts: make_demo({NAME: model}, Limits(0.5, 1), hosts)) as address:
            yield "demo", address
        return
    for version in (TRUE, "model", VIGILANCE):
        for photograph in range(3):
            path = picture_path(tmp_path / "pictures", version, photograph)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20)).save(path)
    store = StudyDatabase(tmp_path / "answers.sqlite")
    study = Study(store, tmp_path / "pictures", Protocol(1, 2, 0), [0, 1, 2], ["model"], 1.0, 0, People(5))
    with serve(lambda hosts: make_study(study, hosts)) as address:
        yield "study", address
    store.close()


NAME = "<img src=x onerror='document.title=1'></option><script>document.title=2</script>"


def send(address: tuple[str, int], *parts: bytes, timeout: float = 120) -> bytes:
    """Send raw bytes and return the reply, up to the end of its headers or of the connection."""
    with socket.create_connection(address, timeout=timeout) as line:
        reply = b""
        try:
            for part in parts:
                line.sendall(part)
            while b"\r\n\r\n" not in reply and (more := line.recv(65_536)):
                reply += more
        except (ConnectionError, TimeoutError):
            pass
        return reply


def status(reply: bytes) -> int:
    """Return the status code of a reply; 0 if the connection was closed without one."""
    return int(reply.split()[1]) if reply else 0


def request_head(verb: str, path: str, *headers: str, host: str = "127.0.0.1") -> bytes:
    """Return the request line and headers of an HTTP request."""
    return "\r\n".join((f"{verb} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")).encode()


def test_requests_for_other_files_sites_or_sizes_are_refused(page: tuple[str, tuple[str, int]], tally: Any) -> None:
    """Raw bytes are sent, because client libraries correct such requests."""
    name, address = page
    assert address[0] == "127.0.0.1"
    assert status(send(address, request_head("GET", "/"))) == 200
    post = "/api/look?model=x" if name == "demo" else "/api/start"
    kind = "application/octet-stream" if name == "demo" else "application/json"
    escapes = ("/../../../../etc/passwd", "/picture/../../answers.sqlite", "/picture/..%2f..%2fanswers.sqlite",
              "/picture/%2e%2e/%2e%2e/answers.sqlite", "//etc/passwd", "/picture/%00")  # fmt: skip
    refused = {request_head("GET", path): (404, 405) for path in escapes}
    refused |= {request_head("GET", "/", host=host): (400,) for host in ("evil.example", "127.0.0.1.evil.example", "")}
    for form in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        words = (f"Content-Type: {form}", "Origin: http://evil.example", "Content-Length: 2")
        refused[request_head("POST", post, *words) + b"{}"] = (415, 400)
    refused[request_head("OPTIONS", post, "Origin: http://evil.example", "Access-Control-Request-Method: POST")] = (
        405,
        400,
    )
    refused[request_head("POST", post, f"Content-Type: {kind}", "Content-Length: 99999999999")] = (413,)
    refused[request_head("GET", "/", "X: " + "x" * 200_000)] = (400, 431)
    for request, codes in refused.items():
        with tally.injecting("a web request asks for private files or sends too much data"):
            reply = send(address, request)
            assert status(reply) in codes, (request[:200], reply[:200])
            assert b"root:" not in reply
            assert b"access-control-allow-origin" not in reply.lower()
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with tally.injecting("a web request asks for private files or sends too much data"):
        began = request_head("POST", post, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
        assert status(send(address, began, *[piece] * 40)) in (
            413,
            0,
        )  # the connection may be closed before the request ends
    assert status(send(address, request_head("GET", "/"))) == 200


def test_incomplete_requests_do_not_block_others(page: tuple[str, tuple[str, int]], tally: Any) -> None:
    name, address = page
    post = "/api/look?model=x" if name == "demo" else "/api/start"
    kind = "application/octet-stream" if name == "demo" else "application/json"
    incomplete = (
        b"",
        b"GET / HT",
        request_head("POST", post, f"Content-Type: {kind}", "Content-Length: 100000") + b"{",
    )
    count = tally.times(30, 300)
    lines = [socket.create_connection(address) for _ in range(count)]
    for i, line in enumerate(lines):
        line.sendall(incomplete[i % len(incomplete)])
    with tally.injecting("web requests that are started and never completed", times=count):
        assert status(send(address, request_head("GET", "/"))) == 200
        without_a_head = [line for i, line in enumerate(lines) if i % len(incomplete) < 2]
        assert not select(without_a_head, [], [], 0)[0]  # none of these connections was closed
    for line in lines:
        line.close()


def test_no_value_of_an_answer_breaks_the_study(page: tuple[str, tuple[str, int]], tally: Any) -> None:
    name, address = page
    if name == "demo":
        pytest.skip("it takes no JSON")
    numbers = (
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1" * 5000,
        b'"\\ud800"',
        b'"\xff"',
        b"[" * 4000,
    )
    for key in (b"new", b"trial", b"side", b"exposure_ms", b"response_ms", b"other"):
        for value in numbers:
            for path in ("/api/start", "/api/answer"):
                with tally.injecting("an answer with a number or text that JSON does not have"):
                    body = b'{"trial": 1, "side": "left", "exposure_ms": 1, "response_ms": 1, "%s": %s}' % (key, value)
                    head = request_head("POST", path, "Content-Type: application/json", f"Content-Length: {len(body)}")
                    assert status(send(address, head + body)) == 400, body[:200]


def test_one_address_cannot_answer_for_a_crowd(page: tuple[str, tuple[str, int]], tally: Any) -> None:
    """A hundred people are claimed, whose answers follow their questions at once."""
    name, address = page
    if name == "demo":
        pytest.skip("it asks nothing")

    def ask(verb: str, path: str, given: Any = None, cookie: str = "") -> tuple[http.client.HTTPResponse, Any]:
        line = http.client.HTTPConnection(*address)
        line.request(verb, path, json.dumps(given), {"Content-Type": "application/json", "Cookie": cookie})
        reply = line.getresponse()
        return reply, json.loads(reply.read())

    with tally.injecting("one address answers a study hundreds of times in a few seconds", times=120):
        for _ in range(120):
            cookie = (ask("POST", "/api/start", {})[0].headers["Set-Cookie"] or "").partition(";")[0]
            trial = ask("GET", "/api/next", cookie=cookie)[1].get("trial", 1)
            given = {"trial": trial, "side": "left", "exposure_ms": 1000, "response_ms": 400}
            reply, _ = ask("POST", "/api/answer", given, cookie)
            assert reply.status in (409, 429)


def test_expensive_pictures_do_not_keep_others_waiting(tally: Any) -> None:
    """They are small files of a size that is accepted, and took minutes each."""
    model = CUNet(width=2).eval()
    Image.new("L", (60, 40)).save(picture := io.BytesIO(), "PNG")
    with serve(lambda hosts: make_demo({"m": model}, Limits(0.5, 1), hosts)) as address, ExitStack() as lines:
        began = time.monotonic()
        for content in (thin_picture(990_000), animation(390)) * tally.times(2, 10):
            with tally.injecting("a picture of a few kilobytes takes minutes to color"):
                line = lines.enter_context(socket.create_connection(address, timeout=120))
                line.sendall(picture_request("picture", content))
                assert status(send(address, picture_request("look", picture.getvalue()))) == 200
        assert time.monotonic() - began < 10 * tally.times(1, 4)
        reply = send(address, picture_request("picture", animation(390)))
    assert status(reply) == 422


def test_trickled_pictures_do_not_keep_others_waiting(tally: Any) -> None:
    model = CUNet(width=2).eval()
    Image.new("L", (60, 40)).save(picture := io.BytesIO(), "PNG")
    with serve(lambda hosts: make_demo({"m": model}, Limits(0.5, 1), hosts)) as address, ExitStack() as lines:
        count = tally.times(16, 200)
        with tally.injecting("pictures of which a byte arrives", times=count):
            for _ in range(count):
                line = lines.enter_context(socket.create_connection(address, timeout=120))
                line.sendall(picture_request("look", b"x", length=500_000))
            began = time.monotonic()
            assert status(send(address, picture_request("look", picture.getvalue()))) == 200
            assert time.monotonic() - began < 10


def picture_request(path: str, content: bytes, length: int | None = None) -> bytes:
    """Return a request that sends a picture to the demo's model "m", and announces `length` bytes."""
    length = len(content) if length is None else length
    kind = "Content-Type: application/octet-stream"
    return request_head("POST", f"/api/{path}?model=m", kind, f"Content-Length: {length}") + content


def test_html_in_a_models_name_is_shown_as_text(browser: webdriver.Chrome) -> None:
    """The name is a file name, which may come from an untrusted source."""
    model = CUNet(width=2).eval()
    with serve(lambda hosts: make_demo({NAME: model, "b": model}, Limits(0.5, 1), hosts)) as (host, port):
        browser.get(f"http://{host}:{port}")
        choices = WebDriverWait(browser, 30).until(lambda page: page.find_elements(By.CSS_SELECTOR, "option"))
        assert [choice.get_attribute("textContent") for choice in choices] == [NAME, "b"]
        assert browser.title not in ("1", "2")
        assert not browser.find_elements(By.CSS_SELECTOR, "img[src=x]")
