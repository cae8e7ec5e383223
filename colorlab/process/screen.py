"""Standard output and standard error that may be lost: a closed terminal, a pipe that nobody reads, a full disk.

Long work goes on without them, as it goes on without a tracker. A command whose printed text is its result ends, as
Unix tools do. Imports nothing heavy.
"""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from colorlab.errors import UserError

log = logging.getLogger(__name__)

CLOSED_PIPE = 141
"""Exit code of a command whose reader has gone: 128 plus the number of SIGPIPE, as shells report it."""


class Screen(io.TextIOWrapper):
    """A standard stream; when a write to it fails, what is printed from then on is dropped.

    Args:
        stream: the stream in whose place it is used.
        title: what messages call it.
    """

    def __init__(self, stream: Any, title: str) -> None:
        binary = open(stream.fileno(), "wb", closefd=False)  # noqa: SIM115 — it stays open
        through = getattr(stream, "write_through", False)
        super().__init__(binary, stream.encoding, stream.errors, line_buffering=True, write_through=through)
        self.title, self.essential = title, False
        self._process_id = os.getpid()

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Drop what is printed from now on, and say so where it can still be read; or end the command.

        Raises:
            SystemExit: what was printed is the command's result.
        """
        if error.errno == errno.EBADF:  # it was closed, and its number may be another file's by now
            return
        redirect_to_nowhere(self.fileno())
        if os.getpid() != self._process_id:  # a data worker
            return
        if self.essential:
            end_without_output(error)
        message = f"{self.title} is lost ({error.strerror}): the work goes on without it."
        if logging.getLogger().handlers:
            log.warning(message)
        if self is not sys.stderr:
            print(f"colorlab: {message}", file=sys.stderr)


def take_screens() -> None:
    """Let this process outlive its standard streams; one that was closed before the start is dropped, too.

    Streams that a program has put in the place of Python's own stay as they are.
    """
    for name, title in (("stdout", "Standard output"), ("stderr", "Standard error")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 — it stays open
        elif stream is getattr(sys, f"__{name}__") and not (os.name == "nt" and stream.isatty()):  # Windows' console
            with suppress(OSError, ValueError):  # it is no file, or was closed
                stream.flush()
                setattr(sys, name, Screen(stream, title))


@contextmanager
def essential_output(essential: bool = True) -> Iterator[None]:
    """End the command if standard output is lost within the block, as what is printed there is its result."""
    screen = sys.stdout
    if not isinstance(screen, Screen):
        yield
        return
    before, screen.essential = screen.essential, essential
    try:
        yield
        screen.flush()
    finally:
        screen.essential = before


def write_result(content: bytes | memoryview) -> None:
    """Write a command's result to standard output.

    Raises:
        BrokenPipeError: nobody reads it.
        UserError: it cannot be written for another reason.
    """
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        redirect_to_nowhere(sys.stdout.fileno())  # Python would try to write the rest at its end
        if isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"standard output cannot be written to ({error.strerror})") from error


def end_without_output(error: OSError) -> NoReturn:
    """End a command whose result cannot be written to standard output: quietly if nobody reads it any more."""
    if isinstance(error, BrokenPipeError):
        sys.exit(CLOSED_PIPE)
    print(f"colorlab: Standard output cannot be written to ({error.strerror}).", file=sys.stderr)
    sys.exit(2)


def redirect_to_nowhere(descriptor: int) -> None:
    """Drop what this process, and those that it starts, write to a file descriptor from now on."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
