"""Eight visitors of the demo, beside three attacks that want to keep it busy."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from colorlab.data.splits import SAMPLES
from colorlab.demo.server import Limits, make_app
from colorlab.models import CUNet
from support.web_pages import animation, serve, thin_picture

PATIENCE = 10
"""The seconds within which a visitor must be answered."""

PHOTOGRAPH = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"


@dataclass
class Crowd:
    """Visitors and attackers of a page, each in a thread, until a time has passed.

    Args:
        address: of the page.
        model: the name of the model to color with.
        seconds: how long.
        hurry: the pause of a visitor between two requests, in seconds.
    """

    address: tuple[str, int]
    model: str
    seconds: float
    hurry: float
    waits: list[float] = field(default_factory=list)
    attacks: dict[str, int] = field(default_factory=dict)
    wrong: list[Any] = field(default_factory=list)

    def post(self, path: str, content: bytes, timeout: float = 600) -> tuple[int, bytes]:
        line = http.client.HTTPConnection(*self.address, timeout=timeout)
        try:
            headers = {"Content-Type": "application/octet-stream"}
            line.request("POST", f"/api/{path}?model={self.model}", content, headers)
            reply = line.getresponse()
            return reply.status, reply.read()
        finally:
            line.close()

    def visit(self, content: bytes, end: float) -> None:
        """Ask for previews as somebody does who moves the slider, and now and then for the whole picture."""
        for turn in count():
            if time.monotonic() >= end:
                return
            began = time.monotonic()
            try:
                status, reply = self.post("picture" if turn % 5 == 4 else "look", content)
                if status != 200:
                    self.wrong.append((status, reply[:200]))
            except Exception as error:  # it would end this thread only
                self.wrong.append(error)
            self.waits.append(time.monotonic() - began)
            time.sleep(self.hurry)

    def attack(self, name: str, content: bytes, path: str, end: float) -> None:
        """Send an expensive picture again and again; leave after a while, as an impatient attacker does."""
        while time.monotonic() < end:
            self.attacks[name] = self.attacks.get(name, 0) + 1
            with suppress(OSError, http.client.HTTPException):
                self.post(path, content, timeout=max(1, min(20, end - time.monotonic())))

    def trickle(self, end: float) -> None:
        """Announce a large file, and send a byte of it every second."""
        while time.monotonic() < end:
            self.attacks["trickles"] = self.attacks.get("trickles", 0) + 1
            with suppress(OSError), socket.create_connection(self.address, timeout=60) as line:
                line.sendall(
                    f"POST /api/look?model={self.model} HTTP/1.1\r\nHost: {self.address[0]}\r\n"
                    "Content-Type: application/octet-stream\r\nContent-Length: 400000\r\n\r\n".encode()
                )
                while time.monotonic() < end:
                    line.sendall(b"x")
                    time.sleep(min(1, max(0, end - time.monotonic())))

    def gather(self, photograph: bytes, thin: bytes, frames: bytes) -> None:
        """Let eight visitors and the attackers in, and wait until all have left."""
        end = time.monotonic() + self.seconds
        work: list[Callable[[], None]] = [lambda: self.visit(photograph, end)] * 8 + [lambda: self.trickle(end)] * 8
        for path in ("look", "picture"):
            work += [lambda path=path: self.attack("thin pictures", thin, path, end)] * 2
            work += [lambda path=path: self.attack("animations", frames, path, end)] * 2
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def in_words(self) -> str:
        """Return how long the visitors waited."""
        waits = sorted(self.waits)
        return (
            f"{len(waits)} requests of visitors: half within {waits[len(waits) // 2]:.2f} s,"
            f" all within {waits[-1]:.2f} s; beside them {self.attacks}"
        )


def test_visitors_are_served_while_others_attack(tally: Any) -> None:
    model = CUNet(width=2).eval()
    with serve(lambda hosts: make_app({"m": model}, Limits(0.5, 1), hosts)) as address:
        crowd = Crowd(address, "m", seconds=3, hurry=0.2)
        with tally.injecting("thin pictures, long animations and trickles beside eight visitors of the demo"):
            crowd.gather(PHOTOGRAPH.read_bytes(), thin_picture(990_000), animation(3000))
            assert not crowd.wrong
            assert max(crowd.waits) < PATIENCE, crowd.in_words()


def test_a_visitor_whose_connection_is_refused_is_noted() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        crowd = Crowd(nobody.getsockname(), "m", seconds=0, hurry=0.1)
        crowd.visit(b"", time.monotonic() + 0.15)
    assert [type(each) for each in crowd.wrong] == [ConnectionRefusedError] * 2


@contextmanager
def demo(folder: Path) -> Iterator[tuple[subprocess.Popen, tuple[str, int]]]:
    """Start the command with its own model; return the process, and host and port."""
    command = [sys.executable, "-m", "colorlab.demo", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().split("http://")[1].split()[0]
            host, port = address.split(":")
            yield process, (host, int(port))
        finally:
            process.kill()


@pytest.mark.faults
def test_visitors_are_served_for_two_minutes_while_others_attack(tmp_path: Path, tally: Any) -> None:
    """With pictures of 49 million pixels and the limits of the command; a photograph has 1.9 million pixels."""
    with Image.open(PHOTOGRAPH) as picture:
        picture.resize((1600, 1200)).save(photograph := io.BytesIO(), "JPEG", quality=90)
    with demo(tmp_path) as (process, address):
        line = http.client.HTTPConnection(*address)
        line.request("GET", "/api/about")
        (model,) = (each["name"] for each in json.loads(line.getresponse().read())["models"])
        crowd = Crowd(address, model, seconds=float(os.environ.get("CROWD_SECONDS", "120")), hurry=2)
        with tally.injecting("thin pictures, long animations and trickles beside eight visitors of the demo"):
            crowd.gather(photograph.getvalue(), thin_picture(49_000_000), animation(20_000))
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e6  # GB
            print(f"{crowd.in_words()}; {peak:.2f} GB of memory at most")
            assert not crowd.wrong
            assert max(crowd.waits) < PATIENCE
            assert peak < 3
