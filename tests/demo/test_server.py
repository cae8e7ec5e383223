"""The requests that the demo's server accepts, and its replies."""

import base64
import contextlib
import http.client
import io
import socket
import struct
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
import torch
from fastapi import Response
from fastapi.testclient import TestClient
from PIL import Image
from skimage.color import rgb2lab

from colorlab.data.splits import SAMPLES
from colorlab.demo import server
from colorlab.demo.server import Limits, make_app
from colorlab.images.frames import PictureFile
from colorlab.models import ECCV16, CUNet
from colorlab.models.inference import apply_color
from colorlab.web import uploads
from colorlab.web.serving import listen

BYTES = {"Content-Type": "application/octet-stream"}
PHOTOGRAPH = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    torch.manual_seed(0)
    models = {"cunet": CUNet(width=2).eval(), "bins": ECCV16(width=2, head="bins").eval()}
    with TestClient(make_app(models, Limits(megabytes=0.5, megapixels=1), hosts=["testserver"])) as client:
        yield client


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def ask(client: TestClient, path: str, content: bytes, **options: object) -> tuple[int, object]:
    reply = client.post(f"/api/{path}", params={"model": "bins"} | options, content=content, headers=BYTES)
    kind = reply.headers["content-type"]
    return reply.status_code, reply.json() if kind == "application/json" else Image.open(io.BytesIO(reply.content))


def test_a_colored_picture_keeps_size_and_lightness(client: TestClient) -> None:
    picture = Image.open(PHOTOGRAPH).convert("L").resize((1201, 803))
    status, colored = ask(client, "picture", png(picture), saturation=1.5)
    assert status == 200
    assert (colored.format, colored.mode, colored.size) == ("PNG", "RGB", picture.size)
    before, after = (rgb2lab(np.asarray(each.convert("RGB")) / 255) for each in (picture, colored))
    assert np.abs(after[..., 0] - before[..., 0]).max() < 0.6  # rounding to 8 bits
    assert np.abs(after[..., 1:]).max() > 3


def test_the_format_is_kept(client: TestClient) -> None:
    status, colored = ask(client, "picture", PHOTOGRAPH.read_bytes())
    assert (status, colored.format, colored.size) == (200, "JPEG", (331, 256))


def test_16_bits_are_kept(client: TestClient) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((20, 30, 3), 30_000, np.uint16), photometric="rgb")
    reply = client.post("/api/picture?model=bins", content=buffer.getvalue(), headers=BYTES)
    assert reply.status_code == 200, reply.json()
    colored = tifffile.imread(io.BytesIO(reply.content))
    assert (colored.shape, colored.dtype) == ((20, 30, 3), np.uint16)


def pixels_of_url(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))).astype(int)


def test_a_preview_is_gray_and_colored_at_the_size_of_a_screen(client: TestClient) -> None:
    status, seen = ask(client, "look", png(Image.new("L", (3000, 300), 120)))
    assert (status, seen["width"], seen["height"]) == (200, 3000, 300)
    gray, colored = (pixels_of_url(seen[name]) for name in ("gray", "colored"))
    assert gray.shape == colored.shape == (160, 1600, 3)
    assert np.ptp(gray, axis=2).max() <= 1
    assert np.ptp(colored, axis=2).max() > 5


def test_the_reported_size_is_of_the_first_frame_with_its_orientation_applied(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (60, 40), 120).save(turned := io.BytesIO(), "JPEG", exif=exif)
    for content, size in ((turned.getvalue(), (40, 60)), (pages(30, 50), (30, 30))):
        status, seen = ask(client, "look", content)
        assert (status, seen["width"], seen["height"]) == (200, *size)


def test_saturation_and_temperature_reach_the_network(client: TestClient) -> None:
    content = PHOTOGRAPH.read_bytes()
    looks = [
        ask(client, "look", content, **options)[1]["colored"]
        for options in ({}, {"temperature": 0.05}, {"saturation": 2})
    ]
    assert len(set(looks)) == 3
    seen = ask(client, "look", content, saturation=0)[1]
    gray, colored = (pixels_of_url(seen[name]) for name in ("gray", "colored"))
    assert np.abs(gray - colored).max() <= 6  # JPEG's rounding
    assert client.get("/api/about").json()["models"] == [
        {"name": "cunet", "temperature": None}, {"name": "bins", "temperature": 0.38},
    ]  # fmt: skip


def test_the_gray_preview_is_the_picture_colored_with_no_color() -> None:
    pixels = torch.randint(0, 256, (1, 3, 300, 400), dtype=torch.uint8)
    colorless = apply_color(pixels, torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 1, 1))
    off = (server.gray_of(pixels).int() - colorless.int()).abs()
    assert off.max() <= 1
    assert (off > 0).float().mean() < 0.01


def test_concurrent_requests_get_their_own_pictures(client: TestClient) -> None:
    shades = range(20, 220, 25)
    with ThreadPoolExecutor(8) as people:
        pictures = people.map(lambda shade: ask(client, "picture", png(Image.new("L", (40, 30), shade)))[1], shades)
    for shade, picture in zip(shades, pictures, strict=True):
        L = rgb2lab(np.asarray(picture) / 255)[..., 0]
        assert L.mean() == pytest.approx(rgb2lab(np.full((1, 1, 3), shade / 255))[0, 0, 0], abs=0.6)


def bomb() -> bytes:
    """Return a PNG whose header claims 60,000 × 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pages(*sides: int) -> bytes:
    """Return a TIFF with one square page per side."""
    buffer = io.BytesIO()
    first, *rest = (Image.new("L", (side, side), 99) for side in sides)
    first.save(buffer, "TIFF", compression="tiff_deflate", save_all=True, append_images=rest)
    return buffer.getvalue()


def scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    Image.new("RGB", (60, 40), "teal").save(buffer := io.BytesIO(), "JPEG", progressive=True)
    at = (content := buffer.getvalue()).rindex(b"\xff\xda")
    return content[:at] + content[at:-2] * count + content[-2:]


def program() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, "EPS")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "options", "status", "sentence"),
    [
        (b"no picture", {}, 422, "This file is not a picture that can be read."),
        (b"", {}, 422, "This file is not a picture that can be read."),
        (PHOTOGRAPH.read_bytes()[:3000], {}, 422, "This picture cannot be colored: "),
        (program(), {}, 422, "This file is not a picture that can be read."),
        (scans(200), {}, 422, "This JPEG has more than 100 scans, the limit here."),
        (pages(10, 1100), {}, 422, "This picture has 2 times up to 1100×1100 pixels; the limit here is 1 million."),
        (bomb(), {}, 422, "This picture has 60000×60000 pixels; the limit here is 1 million."),
        (bytes(600_000), {}, 413, "This file is larger than 0.5 MB, the limit here."),
        (PHOTOGRAPH.read_bytes(), {"model": "<script>"}, 404, "There is no such model here."),
        (PHOTOGRAPH.read_bytes(), {"model": "cunet", "temperature": 0.5}, 422, "temperature is for models with bins"),
    ],
)
def test_a_file_that_cannot_be_colored_is_reported_in_one_sentence(
    client: TestClient, content: bytes, options: dict, status: int, sentence: str
) -> None:
    for path in ("look", "picture"):
        found, reply = ask(client, path, content, **options)
        assert found == status
        assert reply["detail"].startswith(sentence)


def test_a_long_body_of_unannounced_length_is_refused(client: TestClient) -> None:
    endless = (bytes(100_000) for _ in range(100))
    reply = client.post("/api/look", params={"model": "bins"}, content=endless, headers=BYTES)
    assert reply.status_code == 413


@pytest.mark.parametrize(
    "options", [{"saturation": "nan"}, {"saturation": -1}, {"temperature": 0}, {"temperature": "x"}]
)
def test_an_invalid_option_is_refused(client: TestClient, options: dict) -> None:
    status, reply = ask(client, "look", PHOTOGRAPH.read_bytes(), **options)
    assert (status, reply) == (400, {"detail": f"The value of {next(iter(options))} cannot be used."})


def test_requests_of_other_sites_are_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
    reply = client.post("/api/look?model=bins", content=b"x", headers={"Content-Type": "text/plain"})
    assert reply.status_code == 415


def test_nothing_is_stored(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the working folder, in the folder for temporary files, or in the browser's cache."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    for path in ("look", "picture"):
        reply = client.post(f"/api/{path}?model=bins", content=PHOTOGRAPH.read_bytes(), headers=BYTES)
        assert reply.headers["cache-control"] == "no-store"
    assert list(tmp_path.iterdir()) == []


# -- a crowd -----------------------------------------------------------------------------------------


class Crowded(NamedTuple):
    """A real server whose coloring waits until it is allowed, and counts how often it began."""

    host: str
    port: int
    begun: threading.Semaphore
    may_color: threading.Event

    def begin(self, length: int, content: bytes = b"") -> socket.socket:
        """Send the header of a request, and the given part of its body."""
        client = socket.create_connection((self.host, self.port), timeout=120)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        head = f"POST /api/look?model=cunet HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {length}\r\n"
        client.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content)
        return client

    def wait_until_coloring(self) -> None:
        for _ in range(2):  # desks
            assert self.begun.acquire(timeout=120)

    def has(self, path: str) -> bool:
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=120) as reply:
            return reply.status == 200


def reply_of(client: socket.socket) -> tuple[int, bytes]:
    reply = http.client.HTTPResponse(client)
    reply.begin()
    return reply.status, reply.read()


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowded]:
    begun, may_color = threading.Semaphore(0), threading.Event()

    def preview(file: PictureFile, *_: object) -> Response:
        begun.release()
        may_color.wait()
        return Response(str(file.size))

    monkeypatch.setattr(server, "preview", preview)
    with listen("127.0.0.1", 0, "") as listening:
        listening.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        app = make_app({"cunet": CUNet(width=2)}, Limits(megabytes=4, megapixels=1), listening.hosts)
        running = listening.server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening.listener]})
        thread.start()
        yield Crowded(*listening.listener.getsockname(), begun, may_color)
        may_color.set()
        running.should_exit = True
        thread.join()


def test_the_page_is_served_while_many_pictures_wait(crowded: Crowded) -> None:
    content = png(Image.new("L", (30, 20)))
    with contextlib.ExitStack() as clients:
        waiting = [clients.enter_context(crowded.begin(len(content), content)) for _ in range(45)]
        crowded.wait_until_coloring()
        assert crowded.has("/")
        assert crowded.has("/api/about")
        crowded.may_color.set()
        assert all(reply_of(client) == (200, b"(30, 20)") for client in waiting)


def test_only_some_of_many_bodies_are_read_at_once(crowded: Crowded) -> None:
    """Of 24 bodies of three megabytes, the server reads only some before the first are done."""
    content = png(Image.new("L", (30, 20))).ljust(3_000_000, b"\0")
    with contextlib.ExitStack() as clients:
        waiting = [clients.enter_context(crowded.begin(len(content))) for _ in range(24)]
        people = clients.enter_context(ThreadPoolExecutor(24))
        sent = [people.submit(client.sendall, content) for client in waiting]
        crowded.wait_until_coloring()
        assert crowded.has("/")  # earlier connections have been accepted
        time.sleep(0.5)
        assert sum(each.done() for each in sent) <= server.MAX_RECEIVED
        crowded.may_color.set()
        for client, each in zip(waiting, sent, strict=True):
            each.result()
            assert reply_of(client) == (200, b"(30, 20)")


def test_a_slow_upload_times_out_and_makes_room(crowded: Crowded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE", 1)
    crowded.may_color.set()
    content = png(Image.new("L", (30, 20)))
    with contextlib.ExitStack() as clients:
        slow = [clients.enter_context(crowded.begin(1000)) for _ in range(server.MAX_RECEIVED)]
        time.sleep(0.2)
        quick = clients.enter_context(crowded.begin(len(content), content))
        assert reply_of(quick) == (200, b"(30, 20)")
        for client in slow:
            status, reply = reply_of(client)
            assert status == 408
            assert b"arrived too slowly" in reply


def test_a_closed_connection_makes_room_and_prints_nothing(capfd: pytest.CaptureFixture, crowded: Crowded) -> None:
    crowded.may_color.set()
    content = png(Image.new("L", (30, 20)))
    for _ in range(2 * server.MAX_RECEIVED):
        crowded.begin(1000).close()
    with crowded.begin(len(content)) as client:
        client.sendall(content)
        assert reply_of(client) == (200, b"(30, 20)")
    assert capfd.readouterr().err == ""
