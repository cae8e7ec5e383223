"""Which files are received, and which are dropped, by their size and speed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import HTTPException, Request

from colorlab.web import uploads
from colorlab.web.uploads import Uploads


def request(body: bytes, length: int | None = None, then: float = 3600) -> Request:
    """Return a request that announces a length, sends `body`, and the rest only after `then` seconds."""
    parts = [{"type": "http.request", "body": body, "more_body": length is not None and length > len(body)}]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(then)
            return {"type": "http.disconnect"}
        return parts.pop()

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "headers": headers}, receive)


async def received(at: Uploads, sent: Request) -> bytes:
    async with at.receive(sent) as file:
        return file.read()


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 60))


def statuses(replies: list[Any]) -> list[Any]:
    return [each.status_code if isinstance(each, HTTPException) else each for each in replies]


def test_a_trickle_is_dropped_and_a_steady_upload_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE", 0.2)

    async def visit() -> list[Any]:
        at = Uploads(1_000_000, 8_000_000)
        sent = [request(b"x", 1000), request(b"x" * 500, 500), request(b"x" * 20_000, 30_000, then=0.4)]
        return statuses(await asyncio.gather(*(received(at, each) for each in sent), return_exceptions=True))

    assert run(visit) == [408, b"x" * 500, 400]  # the third was allowed 0.2 + 20,000 / 16,000 seconds


def test_slow_files_make_room_for_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "HURRIED_GRACE", 0)

    async def visit() -> list[Any]:
        at = Uploads(1_000_000, 8_000_000)
        slow = [asyncio.create_task(received(at, request(b"x", 1_000_000))) for _ in range(8)]
        await asyncio.sleep(0.05)
        quick = request(b"y" * 1_000_000, 1_000_000)
        assert await asyncio.wait_for(received(at, quick), uploads.GRACE / 2) == b"y" * 1_000_000
        return statuses(await asyncio.gather(*slow, return_exceptions=True))

    assert 408 in run(visit)


def test_short_files_do_not_wait_for_long_ones() -> None:
    async def visit() -> bytes:
        at = Uploads(1_000_000, 8_000_000)
        slow = [asyncio.create_task(received(at, request(b"x", 1_000_000))) for _ in range(8)]
        await asyncio.sleep(0.05)
        reply = await asyncio.wait_for(received(at, request(b"short", 5)), 0.5)
        for each in slow:
            each.cancel()
        return reply

    assert run(visit) == b"short"


def test_a_file_that_is_too_long_is_refused() -> None:
    async def visit() -> list[Any]:
        at = Uploads(1000, 8000)
        sent = [request(b"", 1001), request(b"x" * 1001), request(b"x" * 1000), request(b"", int("9" * 4000))]
        return statuses(await asyncio.gather(*(received(at, each) for each in sent), return_exceptions=True))

    assert run(visit) == [413, 413, b"x" * 1000, 413]


def test_with_too_many_waiting_the_next_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_WAITING", 1)
    monkeypatch.setattr(uploads, "MOST_FILES", 1)

    async def visit() -> list[Any]:
        at = Uploads(1000, 8000)
        tasks = [asyncio.create_task(received(at, request(b"x", 2, then=0.2))) for _ in range(3)]
        return statuses(await asyncio.gather(*tasks, return_exceptions=True))

    assert run(visit) == [400, 400, 503]
