"""Pillow, set up for files of unknown origin: which formats it decodes, and how a file is opened."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial
from io import BytesIO
from pathlib import Path

from PIL import Image

Source = Path | BytesIO
"""A file, or its content."""


@cache
def formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are decoded; the content decides, whatever the suffix.

    Pillow knows more, not all of them safe: EPS is a program, which Ghostscript would run.
    """
    Image.init()  # registers all but the commonest formats
    wanted = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF", "TGA")
    return tuple(name for name in wanted if name in Image.OPEN)  # some builds lack some of them


class _Shared:
    """A change of the process's settings while any thread needs it.

    The first thread to enter makes the change, the last one to leave undoes it.

    Args:
        change: makes the change in a context.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        self._change, self._undo, self._inside = change, ExitStack(), 0
        self._lock = threading.RLock()  # the garbage collector may leave a context while this thread enters another

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._undo.enter_context(self._change())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()


@contextmanager
def _without_limit() -> Iterator[None]:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


_no_warnings = _Shared(partial(warnings.catch_warnings, action="ignore"))
_no_limit = _Shared(_without_limit)


@contextmanager
def opened(source: Source, limit: bool) -> Iterator[Image.Image]:
    """Open a file with Pillow, without its warnings about odd metadata.

    Pillow gets no file name: given one, it maps the file into memory, and 13.0 garbles rotated TIFFs that way.

    Args:
        source: the file.
        limit: keep Pillow's own limit of pixels. Without it, the caller checks the size.

    Raises:
        UnidentifiedImageError: the file is not a picture.
        DecompressionBombError: the picture is larger than the limit.
        OSError: the file cannot be read.
    """
    with (
        _no_warnings,
        nullcontext() if limit else _no_limit,
        nullcontext(source) if isinstance(source, BytesIO) else source.open("rb") as file,
        Image.open(file, formats=formats()) as picture,
    ):
        yield picture


def content_of(source: Source, count: int = -1) -> bytes:
    """Return the first `count` bytes of a file, or all of them."""
    if isinstance(source, BytesIO):
        return bytes(source.getbuffer()[: None if count < 0 else count])
    with source.open("rb") as file:
        return file.read(count)
