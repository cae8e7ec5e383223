"""Serve a web page: the socket, the allowed host names, and the headers. Imports nothing heavy."""

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from colorlab.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of every reply."""

PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}
"""Headers of the page, which may load nothing from elsewhere and may not be framed by other sites."""


class ShortBodies:
    """Middleware that refuses requests with long bodies, whether or not they announce their length.

    Args:
        app: the application, which would keep a whole body in memory.
        limit: the most bytes of a body.
    """

    def __init__(self, app: "ASGIApp", limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        from fastapi import HTTPException

        announced = dict(scope.get("headers", [])).get(b"content-length", b"")
        too_long = announced.isdigit() and int(announced) > self.limit
        received = 0

        async def receive_within_limit() -> "Message":
            nonlocal received
            message = {} if too_long else await receive()
            received += len(message.get("body", b""))
            if too_long or received > self.limit:
                raise HTTPException(413, f"A request here has at most {self.limit} bytes.")
            return message

        await self.app(scope, receive_within_limit, send)


class Listening(NamedTuple):
    """An open socket that browsers can reach.

    Args:
        listener: the socket.
        address: the page's URL.
        hosts: the host names that requests may give, or "*" for any. They are checked because another web site may
            let its own name resolve to this machine.
    """

    listener: socket.socket
    address: str
    hosts: list[str]

    def serve(self, app: "FastAPI") -> None:
        """Serve the application until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            import uvicorn

            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[self.listener])


@contextlib.contextmanager
def listen(host: str, port: int, advice: str) -> Iterator[Listening]:
    """Listen on a port until the block is left.

    Args:
        host: a name or address of this machine; 0.0.0.0 accepts connections from other machines.
        port: 0 takes a free one.
        advice: what the user can do if the port is taken.

    Raises:
        UserError: the port cannot be used.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # from here on, browsers wait for the first reply
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be used ({error.strerror}): {advice}") from error
        bound, port = listener.getsockname()
        host = host.lower() or bound  # browsers send names in lower case
        names = {"127.0.0.1", "localhost", bound, host}
        yield Listening(listener, f"http://{host}:{port}", ["*"] if bound == "0.0.0.0" else sorted(names))
