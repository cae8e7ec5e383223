"""Files that visitors send: kept in memory, as many as fit, and dropped when they arrive too slowly."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import HTTPException, Request
from starlette.types import Message

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

SHARE = 0.25
"""The part of the memory, and of these numbers, that one address may use."""

WAITING_SECONDS, LOOK_SECONDS = 60.0, 0.5
"""The most seconds that a visitor waits for room, and between two searches for files to drop for them."""

AHEAD = 200_000
"""The bytes that are read of a file that waits for room, so that it is noticed when its visitor leaves."""


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
class _Upload:
    """A file that waits for room, is being received, or is in memory."""

    address: str
    size: int
    turn: "asyncio.Future[None]"  # done when there is room
    ahead: list[Message] = field(default_factory=list)
    received: int = 0
    began: float = 0.0
    deadline: asyncio.Timeout | None = None  # while it is being received
    dropped: bool = False

    def drop(self, now: float) -> None:
        """End the receiving."""
        if self.deadline is not None:
            self.deadline.reschedule(now)
            self.dropped = True

    def seconds_left(self, now: float) -> float:
        """Return how long receiving the rest takes at the speed until now."""
        return (now - self.began) * (self.size / max(1, self.received) - 1)


class Uploads:
    """Receives files into a bounded memory.

    Each file reserves the length that its request announces. Long files fill three quarters of the memory at most,
    so that short ones need not wait for them, and one address uses a quarter of it. Of the files that wait, the
    shortest is next.

    Args:
        longest: the largest accepted file, in bytes.
        room: the bytes of all files at a time.
    """

    def __init__(self, longest: int, room: int) -> None:
        self.longest, self.room = longest, room
        self._waiting: list[_Upload] = []
        self._held: list[_Upload] = []

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
        address = request.client.host if request.client else ""
        upload = _Upload(address, size, asyncio.get_running_loop().create_future())
        try:
            await self._reserve(upload, request)
            yield await self._read(upload, request)
        finally:
            if upload in self._held:
                self._held.remove(upload)
            self._assign()

    async def _reserve(self, upload: _Upload, request: Request) -> None:
        own = _of_address(self._waiting, upload.address)
        if len(self._waiting) >= MOST_WAITING or len(own) >= MOST_WAITING * SHARE:
            raise _too_many()
        self._waiting.append(upload)
        self._assign()
        if upload.turn.done():
            return
        loop, leaving = asyncio.get_running_loop(), asyncio.ensure_future(_read_ahead(upload, request))
        since = loop.time()
        try:
            while not upload.turn.done():
                self._make_room(upload, loop.time() - since)
                either: list[asyncio.Future[None]] = [upload.turn, leaving]
                await asyncio.wait(either, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done() and not upload.turn.done():
                    leaving.result()
                    raise _incomplete()
                if loop.time() - since > WAITING_SECONDS and not upload.turn.done():
                    raise _too_many()
        finally:
            leaving.cancel()
            if upload in self._waiting:
                self._waiting.remove(upload)

    def _assign(self) -> None:
        """Let the files in that fit, the shortest first."""
        for upload in sorted(self._waiting, key=lambda each: each.size):
            if not self._in_the_way(upload):
                self._waiting.remove(upload)
                self._held.append(upload)
                upload.turn.set_result(None)

    def _in_the_way(self, upload: _Upload) -> list[_Upload]:
        """Return the files without which another would fit: those of its address, or all; none if it fits."""
        part = 3 / 4 if upload.size > self.longest // 4 else 1
        for files, share in ((_of_address(self._held, upload.address), SHARE), (self._held, 1)):
            room = max(self.room * share * part, self.longest)
            if len(files) >= MOST_FILES * share or sum(each.size for each in files) + upload.size > room:
                return list(files)
        return []

    def _make_room(self, upload: _Upload, waited: float) -> None:
        """Drop the files that arrive too slowly for another to wait for them.

        Args:
            upload: the file that waits.
            waited: for how many seconds. After HURRIED_GRACE, the one of the longer files that would take longest
                is dropped as well, however fast it arrives.
        """
        now, files = asyncio.get_running_loop().time(), self._in_the_way(upload)
        if any(each.dropped for each in files):  # look again when that has left
            return
        arriving = [each for each in files if each.deadline is not None and not each.deadline.expired()]
        arriving = [each for each in arriving if now - each.began > HURRIED_GRACE]
        slow = [each for each in arriving if each.received < HURRIED * (now - each.began)]
        longer = [each for each in arriving if each.size > 2 * upload.size]
        if not slow and longer and waited > HURRIED_GRACE:
            slow = [max(longer, key=lambda each: each.seconds_left(now))]
        for each in slow:
            each.drop(now)

    async def _read(self, upload: _Upload, request: Request) -> WatchedFile:
        file, began, more = WatchedFile(), asyncio.get_running_loop().time(), True
        try:
            async with asyncio.timeout(min(GRACE, UPLOAD_SECONDS)) as deadline:
                upload.began, upload.deadline = began, deadline
                while more:
                    message = upload.ahead.pop(0) if upload.ahead else await request.receive()
                    if (
                        message["type"] == "http.disconnect"
                    ):  # the page aborts a request when the user changes an option
                        raise _incomplete()
                    more = message.get("more_body", False)
                    file.write(chunk := message.get("body", b""))
                    upload.received += len(chunk)
                    if upload.received > self.longest:
                        raise self._too_long()
                    if not upload.dropped and not deadline.expired():
                        seconds = GRACE + upload.received / SLOWEST
                        deadline.reschedule(began + min(seconds, UPLOAD_SECONDS))
        except TimeoutError as error:
            raise HTTPException(408, "This file arrived too slowly: try again on a faster connection.") from error
        finally:
            upload.deadline, upload.dropped = None, False
        file.seek(0)
        return file

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"This file is larger than {self.longest / 1e6:g} MB, the limit here.")


async def _read_ahead(upload: _Upload, request: Request) -> None:
    """Keep the first messages of a request that waits, and return when its visitor has gone."""
    while sum(len(each.get("body", b"")) for each in upload.ahead) < AHEAD:
        message = await request.receive()
        upload.ahead.append(message)
        if message["type"] == "http.disconnect":
            return
    await upload.turn


def _of_address(uploads: Iterable[_Upload], address: str) -> list[_Upload]:
    return [each for each in uploads if each.address == address]


def _incomplete() -> HTTPException:
    return HTTPException(400, "Only a part of this file has arrived.")


def _too_many() -> HTTPException:
    return HTTPException(503, "Too many people are sending pictures at the moment: try again in a minute.")
