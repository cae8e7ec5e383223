"""Serve a page of ours: where it listens, by which names it may be called, what browsers are told.

Imports nothing heavy.
"""

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from colorlab.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of replies."""

PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}
"""Of the page itself, which loads nothing from elsewhere and stands in no frame of others."""


class ShortBodies:
    """A layer around an application that refuses requests with long bodies, also those that do not say how long.

    Args:
        app: the application, which would keep a whole body in memory.
        most: bytes that a body may have.
    """

    def __init__(self, app: "ASGIApp", most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        from fastapi import HTTPException

        announced = dict(scope.get("headers", [])).get(b"content-length", b"")
        too_long = announced.isdigit() and int(announced) > self.most
        come = 0

        async def counted() -> "Message":
            nonlocal come
            message = {} if too_long else await receive()
            come += len(message.get("body", b""))
            if too_long or come > self.most:
                raise HTTPException(413, f"A request here has at most {self.most} bytes.")
            return message

        await self.app(scope, counted, send)


class Listening(NamedTuple):
    """A socket that browsers can already reach, and by which names.

    Args:
        listener: the socket.
        address: what to type into a browser.
        hosts: the names that a request may give; "*" is any. A web site elsewhere may point its own name here.
    """

    listener: socket.socket
    address: str
    hosts: list[str]

    def serve(self, app: "FastAPI") -> None:
        """Answer until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            import uvicorn

            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[self.listener])


@contextlib.contextmanager
def listen(host: str, port: int, advice: str) -> Iterator[Listening]:
    """Listen on a port until the block is left.

    Args:
        host: a name or an address of this machine; 0.0.0.0 lets others in.
        port: 0 takes a free one.
        advice: what to do if the port is taken.

    Raises:
        UserError: the port cannot be used.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # from here on a browser that comes early waits
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be used ({error.strerror}): {advice}") from error
        bound, port = listener.getsockname()
        host = host.lower() or bound  # browsers write names small
        names = {"127.0.0.1", "localhost", bound, host}
        yield Listening(listener, f"http://{host}:{port}", ["*"] if bound == "0.0.0.0" else sorted(names))
