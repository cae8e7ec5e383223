"""Connections of browsers: those that send no request, or do not read the reply, are closed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEAD_SECONDS = 10.0
"""The time in which the head of a request must arrive, and after which an unused connection is closed."""

SLOWEST = 16_000
"""The bytes per second that a visitor must send or read at least (128 kbit/s)."""

STALLED_SECONDS = 15.0
"""How long a visitor may read more slowly than that."""

MOST_CONNECTIONS = 400
"""With more, the one that has been waiting for a request for the longest time is closed; with twice as many, a new one.
A process usually has 1,024 files."""

TICK = 5.0
"""The time between two looks at a connection, in seconds."""

_KEY = "connection"


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # which of uvicorn's it is, is known at run time
    """uvicorn's connection, closed when nothing happens on it that a page needs.

    Args:
        app_state: the application's state, through which a request knows its connection.
        options: of uvicorn's connection.
    """

    def __init__(self, *, app_state: dict[str, Any], server_state: Any, **options: Any) -> None:
        super().__init__(app_state={**app_state, _KEY: self}, server_state=server_state, **options)
        self._all: set[Connection] = server_state.connections
        self._requests, self._unsent, self._stalled = 0, 0, 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._line, self._clock = transport, asyncio.get_running_loop()
        self._waiting_since = self._clock.time()
        if len(self._all) > MOST_CONNECTIONS:
            open_ones = [each for each in self._all if not each._line.is_closing()]
            if len(open_ones) > MOST_CONNECTIONS:
                unused = [each for each in open_ones if not each._requests]
                oldest = min(unused, key=lambda each: each._waiting_since)
                (self if len(open_ones) > 2 * MOST_CONNECTIONS else oldest)._line.abort()
        self._timer = self._clock.call_later(TICK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Mark that a request of this connection is being answered, which may take any time."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._waiting_since = self._clock.time()

    def _look(self) -> None:
        unsent, before = self._line.get_write_buffer_size(), self._unsent
        self._stalled = self._stalled + TICK if unsent and before and unsent > before - SLOWEST * TICK else 0.0
        self._unsent = unsent
        unused = not self._requests and not unsent and self._clock.time() - self._waiting_since >= HEAD_SECONDS
        if unused or self._stalled >= STALLED_SECONDS:
            self._line.abort()
        else:
            self._timer = self._clock.call_later(TICK, self._look)


class Answering:
    """Middleware that tells a connection when one of its requests begins and ends.

    Args:
        app: the application.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        connection = scope.get("state", {}).get(_KEY)
        if connection is None:  # the server's start and end
            await self.app(scope, receive, send)
            return
        with connection.answering():
            await self.app(scope, receive, send)
