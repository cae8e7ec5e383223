"""Serve a page in a thread as its command does, and pictures that cost much more than they weigh."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from PIL import Image

from colorlab.web.serving import listen


@contextmanager
def serve(make: Callable[[list[str]], FastAPI]) -> Iterator[tuple[str, int]]:
    """Serve a page on loopback as its command does; return host and port."""
    with listen("127.0.0.1", 0, "") as listening:
        server = listening.server(make(listening.hosts), log_level="critical")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening.listener]})
        thread.start()
        try:
            yield listening.listener.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def thin_picture(height: int) -> bytes:
    """Return a PNG that is one pixel wide; of 49 million pixels, it has 95 kB."""
    Image.new("L", (1, height), 120).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def animation(frames: int) -> bytes:
    """Return a GIF of many frames of 50 × 50 pixels; of 20,000 frames, it has 2 MB."""
    Image.new("P", (50, 50)).save(buffer := io.BytesIO(), "GIF")
    start = (content := buffer.getvalue()).index(b",\0\0\0\0")
    return content[:start] + (b"!\xf9\x04\0\1\0\0\0" + content[start:-1]) * frames + b";"
