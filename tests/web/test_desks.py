"""In which order the work of requests is done, and what ends it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from colorlab.web import desks
from colorlab.web.desks import Abandoned, Busy, Desk, Desks, OutOfTime, Watch


def two_desks(seconds: float = 60) -> Desks:
    return Desks([Desk(0, 10, 0.2, lambda: None), Desk(10, float("inf"), seconds, lambda: None)])


def one_desk() -> Desks:
    return Desks([Desk(0, float("inf"), 60, lambda: None)])


async def never() -> None:
    await asyncio.Event().wait()


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 60))


def busily(watch: Watch) -> None:
    while True:
        watch.check()


def test_cheap_work_does_not_wait_for_expensive_work() -> None:
    async def visit() -> str:
        at, may_end = two_desks(), threading.Event()
        expensive = [asyncio.create_task(at.do(lambda _: may_end.wait(), "a", 50, never())) for _ in range(3)]
        await asyncio.sleep(0)
        reply = await at.do(lambda _: "cheap", "b", 1, never())
        may_end.set()
        assert await asyncio.gather(*expensive) == [True] * 3
        return reply

    assert run(visit) == "cheap"


def test_the_order_is_by_cost_and_by_what_an_address_has_spent() -> None:
    async def visit() -> list[str]:
        at, may_begin, order = one_desk(), threading.Event(), []
        first = asyncio.create_task(at.do(lambda _: may_begin.wait(), "greedy", 30, never()))
        await asyncio.sleep(0)
        later = [
            asyncio.create_task(at.do(lambda _, name=name: order.append(name), address, cost, never()))
            for name, address, cost in (("d", "greedy", 2), ("c", "other", 25), ("b", "other", 3), ("a", "new", 1))
        ]
        await asyncio.sleep(0)
        may_begin.set()
        await asyncio.gather(first, *later)
        return order

    assert run(visit) == ["a", "b", "c", "d"]


def test_expensive_work_rests_while_cheap_work_is_done() -> None:
    def steps(watch: Watch) -> float:
        began = time.monotonic()
        for _ in range(4):
            time.sleep(desks.WORK_SECONDS * 1.1)
            watch.check()
        return time.monotonic() - began

    async def visit() -> tuple[float, float]:
        at, may_end = two_desks(), threading.Event()
        cheap = asyncio.create_task(at.do(lambda _: may_end.wait(), "a", 1, never()))
        await asyncio.sleep(0)
        beside = await at.do(steps, "b", 50, never())
        may_end.set()
        await cheap
        return beside, await at.do(steps, "b", 50, never())

    beside, alone = run(visit)
    assert beside > 4 * desks.REST_SECONDS
    assert alone < beside - 2 * desks.REST_SECONDS


def test_work_that_is_dearer_than_guessed_moves_to_the_other_desk() -> None:
    threads: list[int] = []

    def declared(watch: Watch) -> str:
        threads.append(threading.get_ident())
        watch.declare(11)
        return "done"

    def slow(watch: Watch) -> str:
        threads.append(threading.get_ident())
        if len(threads) == 3:
            busily(watch)
        return "done"

    async def visit() -> list[str]:
        at = two_desks()
        return [await at.do(work, "a", 1, never()) for work in (declared, slow)]

    assert run(visit) == ["done", "done"]
    assert threads[0] == threads[2] != threads[1] == threads[3]


def test_work_ends_after_its_time() -> None:
    async def visit() -> None:
        await two_desks(seconds=0.1).do(busily, "a", 50, never())

    with pytest.raises(OutOfTime):
        run(visit)


@pytest.mark.parametrize("waiting", [False, True], ids=["at the desk", "waiting"])
def test_work_ends_when_its_visitor_has_gone(waiting: bool) -> None:
    async def visit() -> str:
        at = one_desk()
        may_end, left = threading.Event(), asyncio.Event()
        before = asyncio.create_task(at.do(lambda _: may_end.wait(), "b", 1, never())) if waiting else None
        task = asyncio.create_task(at.do(busily, "a", 1, left.wait()))
        await asyncio.sleep(0.1)
        left.set()
        with pytest.raises(Abandoned):
            await task
        may_end.set()
        if before is not None:
            await before
        return await at.do(lambda _: "next", "a", 1, never())

    assert run(visit) == "next"


def test_too_many_visitors_are_sent_away_the_dearest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "MOST_WAITING", 2)

    async def visit() -> list[Any]:
        at, may_end = one_desk(), threading.Event()
        tasks = [
            asyncio.create_task(at.do(lambda _, cost=cost: may_end.wait() and cost, "a", cost, never()))
            for cost in (1, 5, 3, 4)
        ]
        await asyncio.sleep(0.1)
        may_end.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    replies = run(visit)
    assert isinstance(replies[1], Busy)
    assert [replies[0], *replies[2:]] == [1, 3, 4]


def test_a_cancelled_request_frees_its_desk() -> None:
    async def visit() -> str:
        at = one_desk()
        task = asyncio.create_task(at.do(busily, "a", 1, never()))
        await asyncio.sleep(0.05)
        task.cancel()
        began = time.monotonic()
        reply = await at.do(lambda _: "next", "a", 1, never())
        assert time.monotonic() - began < 10
        return reply

    assert run(visit) == "next"


def test_addresses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "MOST_ADDRESSES", 20)

    async def visit() -> tuple[set[str], set[str]]:
        at = one_desk()
        await at.do(lambda _: None, "dear", 50, never())
        for i in range(50):
            await at.do(lambda _: None, f"cheap {i}", 1, never())
        many = set(at._spent)
        monkeypatch.setattr(desks, "MEMORY_SECONDS", 0.001)
        await asyncio.sleep(0.1)
        await at.do(lambda _: None, "last", 1, never())
        return many, set(at._spent)

    many, left = run(visit)
    assert len(many) == 21
    assert "dear" in many
    assert left == {"last"}
