"""Threads that do the work of requests: the cheapest first, within a time, and only while the visitor waits."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")

MOST_WAITING = 100
"""The number of visitors who wait for a desk; of more, the last in the order is sent away."""

AGING = 1.0
"""The cost that waiting for a second makes up for, so that expensive work is done in the end."""

MEMORY_SECONDS = 60.0
"""After this time, half of what an address has spent is forgotten."""

NEGLIGIBLE, MOST_ADDRESSES = 1e-3, 1000
"""What is forgotten altogether: less than this cost, and the costs of more addresses than these."""

WORK_SECONDS, REST_SECONDS = 0.05, 0.2
"""Expensive work rests after this time, for that time, while cheaper work is being done."""


class Abandoned(Exception):
    """The visitor has gone."""


class OutOfTime(Exception):
    """The work takes longer than any may."""


class Busy(Exception):
    """Too many others wait, with cheaper work."""


class Expensive(Exception):
    """The work costs more than this desk takes.

    Args:
        cost: what it costs.
    """

    def __init__(self, cost: float) -> None:
        super().__init__(f"the work costs {cost:g}")
        self.cost = cost


class Watch:
    """Ends work that takes too long, or whose visitor has gone, the next time that the work asks."""

    def __init__(self) -> None:
        self._gone = threading.Event()
        self._most, self._until, self._rested = float("inf"), float("inf"), 0.0
        self._gives_way: Callable[[], bool] = lambda: False

    def stop(self) -> None:
        """End the work: the visitor has gone."""
        self._gone.set()

    def begin(self, most: float, seconds: float, gives_way: Callable[[], bool]) -> None:
        """Begin the work, in its thread.

        Args:
            most: how much it may cost here.
            seconds: how long the processor may work for it.
            gives_way: returns whether cheaper work is being done, beside which this work rests most of the time.
        """
        self._most, self._until, self._gives_way = most, time.thread_time() + seconds, gives_way

    def declare(self, cost: float) -> None:
        """Say what the work costs, as soon as that is known.

        Raises:
            Expensive: another desk has to do it.
        """
        if cost > self._most:
            raise Expensive(cost)

    def check(self) -> None:
        """Go on, or raise Abandoned, OutOfTime or Expensive."""
        if self._gone.is_set():
            raise Abandoned
        if time.thread_time() > self._until:
            raise OutOfTime if self._most == float("inf") else Expensive(2 * self._most)
        if time.monotonic() - self._rested > WORK_SECONDS and self._gives_way():
            time.sleep(REST_SECONDS)
            self._rested = time.monotonic()


class Desk:
    """A thread that does the work whose cost is within a range.

    Args:
        least, most: the range; the work costs more than `least` and at most `most`.
        seconds: the most processor time that the work may take.
        prepare: called in the thread, before its first work.
    """

    def __init__(self, least: float, most: float, seconds: float, prepare: Callable[[], object]) -> None:
        self.least, self.most, self.seconds, self.free = least, most, seconds, True
        self.thread = ThreadPoolExecutor(1, initializer=prepare)


@dataclass(eq=False)
class _Job:
    cost: float
    address: str
    since: float
    turn: "asyncio.Future[Desk]"


@dataclass
class Desks:
    """Gives the work of requests to desks.

    The order is by cost and by what the visitor's address has spent lately. Cheap work never waits for expensive work
    if that has a desk of its own.

    Args:
        desks: any number, which together take work of any cost above 0.
    """

    desks: list[Desk]
    _waiting: list[_Job] = field(default_factory=list)
    _spent: dict[str, tuple[float, float]] = field(default_factory=dict)  # by address: cost, and when that was so

    async def do(self, work: Callable[[Watch], Result], address: str, cost: float, gone: Awaitable[object]) -> Result:
        """Do work at a desk, and again at another one if it turns out to be too expensive for the first.

        Args:
            work: called in a desk's thread; it shall call `Watch.check` often.
            address: the visitor's.
            cost: a guess.
            gone: ends when the visitor has gone.

        Raises:
            Abandoned, OutOfTime, Busy: the work was not done.
        """
        watch, leaving = Watch(), asyncio.ensure_future(gone)
        leaving.add_done_callback(lambda _: watch.stop())
        try:
            while True:
                try:
                    return await self._do(work, watch, _Job(cost, address, _now(), _future()), leaving)
                except Expensive as found:
                    cost = found.cost
        finally:
            leaving.cancel()

    async def _do(
        self, work: Callable[[Watch], Result], watch: Watch, job: _Job, leaving: "asyncio.Future[object]"
    ) -> Result:
        self._forget()
        self._waiting.append(job)
        self._assign()
        try:
            either: list[asyncio.Future[Any]] = [job.turn, leaving]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not job.turn.done():
                raise Abandoned
            desk = job.turn.result()
            cheaper = [each for each in self.desks if each.most < desk.most]

            def at_desk() -> Result:
                watch.begin(desk.most, desk.seconds, lambda: any(not each.free for each in cheaper))
                watch.check()
                return work(watch)

            return await asyncio.get_running_loop().run_in_executor(desk.thread, at_desk)
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
            elif job.turn.exception() is None:
                self._spent[job.address] = (self._spent_by(job.address) + job.cost, _now())
                job.turn.result().free = True
                self._assign()

    def _assign(self) -> None:
        """Give each free desk the first of the visitors whose work it takes."""
        self._waiting.sort(key=self._rank)
        for desk in self.desks:
            job = next((each for each in self._waiting if desk.least < each.cost <= desk.most), None)
            if desk.free and job is not None:
                self._waiting.remove(job)
                desk.free = False
                job.turn.set_result(desk)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.pop().turn.set_exception(Busy())

    def _rank(self, job: _Job) -> float:
        return job.cost + self._spent_by(job.address) - AGING * (_now() - job.since)

    def _spent_by(self, address: str) -> float:
        """Return what an address has spent lately."""
        cost, when = self._spent.get(address, (0.0, 0.0))
        return cost * 0.5 ** ((_now() - when) / MEMORY_SECONDS)

    def _forget(self) -> None:
        """Forget what is negligible by now, and of more than MOST_ADDRESSES those that have spent least."""
        spent = {address: self._spent_by(address) for address in self._spent}
        dearest = sorted(spent, key=lambda address: -spent[address])[:MOST_ADDRESSES]
        self._spent = {address: self._spent[address] for address in dearest if spent[address] >= NEGLIGIBLE}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _future() -> "asyncio.Future[Desk]":
    return asyncio.get_running_loop().create_future()
