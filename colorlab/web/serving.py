"""Serve a web page: the socket, the allowed host names, and the headers. Imports nothing heavy."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from colorlab.errors import Interrupted, UserError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
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


BODY_SECONDS = 10.0
"""The time in which a short body must arrive."""


async def refuse_invalid(request: "Request", error: "RequestValidationError") -> "JSONResponse":
    """Answer a request with invalid values in one sentence that does not repeat them.

    They may be infinite, NaN or no text in UTF-8, which no reply in JSON can hold.
    """
    from fastapi.responses import JSONResponse

    names = [str(part) for part in error.errors()[0]["loc"][1:] if isinstance(part, str) and part.isidentifier()]
    what = f"The value of {'.'.join(names)}" if names else "This request"
    return JSONResponse({"detail": f"{what} cannot be used."}, status_code=400, headers=HEADERS)


class ShortBodies:
    """Middleware that refuses long or slow bodies, whether or not they announce their length.

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
        received, complete, until = 0, False, asyncio.get_running_loop().time() + BODY_SECONDS

        async def receive_within_limit() -> "Message":
            nonlocal received, complete
            if complete:  # what follows is the visitor's leaving, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = {} if too_long else await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"This request did not arrive within {BODY_SECONDS:g} seconds.") from error
            complete = not message.get("more_body", False)
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

    def server(self, app: "FastAPI", log_level: str = "warning") -> "uvicorn.Server":
        """Return a server of the application, which closes connections that send nothing.

        Behind a proxy, visitors' addresses are taken from its headers if FORWARDED_ALLOW_IPS names the proxy; from
        others, the headers could be forged.
        """
        import uvicorn

        from colorlab.web.connections import Answering, Connection

        proxied = "FORWARDED_ALLOW_IPS" in os.environ
        return uvicorn.Server(
            uvicorn.Config(Answering(app), http=Connection, proxy_headers=proxied, log_level=log_level)
        )

    def serve(self, app: "FastAPI") -> None:
        """Serve the application until Ctrl-C."""
        try:
            self.server(app).run(sockets=[self.listener])
        except Interrupted as stop:
            if stop.code != 128 + signal.SIGINT:
                raise


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
