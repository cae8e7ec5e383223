"""Serve a web page: the socket, the allowed host names, and the headers. Imports nothing heavy."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from colorlab.errors import Interrupted, UserError
from colorlab.process.signals import handling_signals

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of every reply."""

PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}
"""Headers of the page, which may load nothing from elsewhere and may not be framed by other sites."""


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
        """Serve the application until Ctrl-C.

        Raises:
            Interrupted: another signal ended it.
        """
        sys.setswitchinterval(0.001)  # of the threads, so that reading a long animation does not hold up others
        server, numbers = self.server(app), list[int]()

        def stop(number: int, frame: object) -> None:
            numbers.append(number)
            server.should_exit = True

        with handling_signals(stop):  # uvicorn has handlers of its own, but for SIGHUP, and then calls these
            server.run(sockets=[self.listener])
        if numbers and numbers[0] != signal.SIGINT:
            raise Interrupted(numbers[0])


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
