"""Files that visitors send: kept in memory, as many as fit, and dropped when they arrive too slowly."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from colorlab.web.connections import SLOWEST

UPLOAD_SECONDS = 120.0
"""The most seconds that receiving a file may take: 64 MB at 4 Mbit/s."""

GRACE = 5.0
"""The seconds before a file must have arrived with at least SLOWEST bytes per second."""

HURRIED = 500_000
"""The bytes per second that a file must arrive with while others wait for room (4 Mbit/s)."""

HURRIED_GRACE = 2.0
"""The seconds before that is demanded."""

MOST_FILES, MOST_WAITING = 256, 200
"""The number of files in memory, and of visitors who wait for room."""


class WatchedFile(io.BytesIO):
    """A file in memory that asks before each reading whether its work shall go on.

    Attributes:
        check: called before each reading; what it raises ends the reading.
    """

    check: Callable[[], object] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.check is not None:
            self.check()
        return super().read(size)


@dataclass(eq=False)
class _Arriving:
    """A file that is being received: since when, how much of it, and when it is dropped."""

    began: float
    deadline: asyncio.Timeout
    received: int = 0


class Uploads:
    """Receives files into a bounded memory.

    Each file reserves the length that its request announces. Long files fill three quarters of the memory at most,
    so that short ones need not wait for them.

    Args:
        longest: the largest accepted file, in bytes.
        room: the bytes of all files at a time.
    """

    def __init__(self, longest: int, room: int) -> None:
        self.longest, self.room = longest, room
        self._arriving: set[_Arriving] = set()
        self._changed = asyncio.Condition()
        self._reserved = self._files = self._waiting = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[WatchedFile]:
        """Receive the body of a request, and keep its memory reserved until the block is left.

        Raises:
            HTTPException: the body is too long, arrives too slowly or incompletely, or too many visitors wait.
        """
        announced = request.headers.get("content-length", "")
        size = int(announced[:20]) if announced.isdecimal() else self.longest
        if size > self.longest:
            raise self._too_long()
        await self._reserve(size)
        try:
            yield await self._read(request)
        finally:
            self._reserved -= size
            self._files -= 1
            async with self._changed:
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        room = self.room * 3 // 4 if size > self.longest // 4 else self.room
        return self._files < MOST_FILES and self._reserved + size <= room

    async def _reserve(self, size: int) -> None:
        if self._waiting >= MOST_WAITING:
            raise HTTPException(503, "Too many people are sending pictures at the moment: try again in a minute.")
        self._waiting += 1
        try:
            async with self._changed:
                while not self._fits(size):
                    self._drop_slow()
                    try:
                        async with asyncio.timeout(1):
                            await self._changed.wait()
                    except TimeoutError:  # look again for slow ones
                        continue
                self._reserved += size
                self._files += 1
        finally:
            self._waiting -= 1

    def _drop_slow(self) -> None:
        """Drop the files that are arriving too slowly for others to wait for them."""
        now = asyncio.get_running_loop().time()
        for each in self._arriving:
            seconds = now - each.began
            if seconds > HURRIED_GRACE and each.received < HURRIED * seconds and not each.deadline.expired():
                each.deadline.reschedule(now)

    async def _read(self, request: Request) -> WatchedFile:
        file, began = WatchedFile(), asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(GRACE, UPLOAD_SECONDS)) as deadline:
                arriving = _Arriving(began, deadline)
                self._arriving.add(arriving)
                try:
                    async for chunk in request.stream():
                        file.write(chunk)
                        arriving.received += len(chunk)
                        if arriving.received > self.longest:
                            raise self._too_long()
                        if not deadline.expired():
                            seconds = GRACE + arriving.received / SLOWEST
                            deadline.reschedule(began + min(seconds, UPLOAD_SECONDS))
                finally:
                    self._arriving.remove(arriving)
        except TimeoutError as error:
            raise HTTPException(408, "This file arrived too slowly: try again on a faster connection.") from error
        except ClientDisconnect as error:  # the page aborts a request when the user changes an option
            raise HTTPException(400, "Only a part of this file has arrived.") from error
        file.seek(0)
        return file

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"This file is larger than {self.longest / 1e6:g} MB, the limit here.")
