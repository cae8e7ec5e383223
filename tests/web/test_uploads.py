"""Which files are received, and which are dropped, by their size and speed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import HTTPException, Request

from colorlab.web import uploads
from colorlab.web.uploads import Uploads


def request(body: bytes, length: int | None = None, then: float = 3600, address: str = "a") -> Request:
    """Return a request that announces a length and sends `body`; its visitor leaves after `then` seconds."""
    parts = [{"type": "http.request", "body": body, "more_body": length is not None and length > len(body)}]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(then)
            return {"type": "http.disconnect"}
        return parts.pop()

    return _request(receive, length, address)


def steadily(length: int, speed: float, address: str = "a") -> Request:
    """Return a request that announces a length and sends it with `speed` bytes per second."""
    left = length

    async def receive() -> dict[str, Any]:
        nonlocal left
        await asyncio.sleep(0.02)
        size = min(left, int(0.02 * speed))
        left -= size
        return {"type": "http.request", "body": bytes(size), "more_body": left > 0}

    return _request(receive, length, address)


def _request(receive: Callable[[], Coroutine[Any, Any, Any]], length: int | None, address: str) -> Request:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "headers": headers, "client": (address, 1)}, receive)


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
        slow = [asyncio.create_task(received(at, request(b"x", 1_000_000, address=str(i)))) for i in range(6)]
        await asyncio.sleep(0.05)
        quick = request(b"y" * 1_000_000, 1_000_000)
        assert await asyncio.wait_for(received(at, quick), uploads.GRACE / 2) == b"y" * 1_000_000
        return statuses(await asyncio.gather(*slow, return_exceptions=True))

    assert run(visit) == [408] * 6


@pytest.mark.parametrize("address", ["a", "b"], ids=["the attacker's", "another"])
def test_a_short_file_is_received_beside_long_ones_that_are_just_fast_enough(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "HURRIED_GRACE", 0.1)
    monkeypatch.setattr(uploads, "LOOK_SECONDS", 0.05)

    async def visit() -> bytes:
        at = Uploads(6_400_000, 8 * 6_400_000)
        sizes = [6_400_000] * 6 + [1_600_000] * 8
        attack = [asyncio.create_task(received(at, steadily(size, 1_000_000))) for size in sizes]
        await asyncio.sleep(0.05)
        reply = await asyncio.wait_for(received(at, request(b"y" * 100_000, 100_000, address=address)), 1)
        for each in attack:
            each.cancel()
        return reply

    assert run(visit) == b"y" * 100_000


def test_one_address_uses_a_quarter_of_the_room() -> None:
    async def visit() -> list[Any]:
        at = Uploads(1_000_000, 8_000_000)
        greedy = [asyncio.create_task(received(at, request(b"x", 200_000))) for _ in range(60)]
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(received(at, request(b"y" * 200_000, 200_000, address=str(i)))) for i in range(9)]
        replies = await asyncio.wait_for(asyncio.gather(*others), 0.5)
        for each in greedy:
            each.cancel()
        return replies

    assert run(visit) == [b"y" * 200_000] * 9


@pytest.mark.parametrize("sent", [b"", b"x", b"x" * 1000], ids=["nothing", "a part", "all"])
def test_a_visitor_who_leaves_while_waiting_is_noticed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_FILES", 1)

    async def visit() -> list[Any]:
        at = Uploads(1000, 8000)
        before = asyncio.create_task(received(at, request(b"x", 2)))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(received(at, request(sent, 1000, then=0.1))) for _ in range(20)]
        replies = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
        assert not before.done()
        before.cancel()
        return statuses(replies)

    assert run(visit) == [400] * 20


def test_what_was_read_while_waiting_is_a_part_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_FILES", 1)
    monkeypatch.setattr(uploads, "AHEAD", 300)
    parts = [bytes([number]) * 100 for number in range(10)]

    async def visit() -> bytes:
        at, left = Uploads(1000, 8000), list(parts)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        before = asyncio.create_task(received(at, request(b"x", 2, then=0.1)))
        await asyncio.sleep(0.01)
        task = asyncio.create_task(received(at, _request(receive, 1000, "b")))
        await asyncio.sleep(0.05)
        assert len(left) == 7  # no more than AHEAD
        await asyncio.wait([before])
        return await task

    assert run(visit) == b"".join(parts)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_FILES", 1)
    monkeypatch.setattr(uploads, "WAITING_SECONDS", 0.1)
    monkeypatch.setattr(uploads, "LOOK_SECONDS", 0.05)

    async def visit() -> list[Any]:
        at = Uploads(1000, 8000)
        tasks = [asyncio.create_task(received(at, request(b"x", 2, then=0.4))) for _ in range(2)]
        return statuses(await asyncio.gather(*tasks, return_exceptions=True))

    assert run(visit) == [400, 503]


def test_short_files_do_not_wait_for_long_ones() -> None:
    async def visit() -> list[bytes]:
        at = Uploads(1_000_000, 8_000_000)
        slow = [asyncio.create_task(received(at, request(b"x", 1_000_000, address=str(i // 2)))) for i in range(16)]
        await asyncio.sleep(0.05)
        short = [received(at, request(b"short", 5, address=address)) for address in ("0", "other")]
        replies = await asyncio.wait_for(asyncio.gather(*short), 0.5)
        for each in slow:
            each.cancel()
        return replies

    assert run(visit) == [b"short"] * 2


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
        tasks = [asyncio.create_task(received(at, request(b"x", 2, then=0.05 * (i + 1)))) for i in range(3)]
        return statuses(await asyncio.gather(*tasks, return_exceptions=True))

    assert run(visit) == [400, 400, 503]
