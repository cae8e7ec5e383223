"""Moments at which something happens to a process of a test: mostly, it kills its whole group with -9."""

import importlib
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any


def kill() -> None:
    os.killpg(0, signal.SIGKILL)


def wrap(place: str, make: Callable[[Callable], Callable]) -> None:
    """Put something around a function, `module:name` or `module:Class.name`."""
    module, _, name = place.partition(":")
    *owners, attribute = name.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    inner = getattr(owner, attribute)
    setattr(owner, attribute, wraps(inner)(make(inner)))


def at_call(place: str, number: int, after: bool = False, do: Callable[[], None] = kill) -> None:
    """Do it (kill) before the function is called for the `number`th time, or after."""
    calls = 0

    def make(inner: Callable) -> Callable:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number and not after:
                do()
            result = inner(*args, **kwargs)
            if calls == number and after:
                do()
            return result

        return called

    wrap(place, make)


def half_way_into_a_checkpoint(number: int) -> None:
    """Kill when half of the `number`th checkpoint is on the disk: a checkpoint is what is synchronized with it."""
    synchronized = 0

    def make(sync: Callable) -> Callable:
        def half(file: int) -> None:
            nonlocal synchronized
            synchronized += 1
            if synchronized == number:
                os.ftruncate(file, os.fstat(file).st_size // 2)
                kill()
            sync(file)

        return half

    wrap("os:fsync", make)


def half_way_into_a_file(number: int) -> None:
    """Kill when half is there of what is to become the `number`th whole file."""
    replaced = 0

    def make(replace: Callable) -> Callable:
        def half(part: Path, file: Path) -> Path:
            nonlocal replaced
            replaced += 1
            if replaced == number:
                os.truncate(part, part.stat().st_size // 2)
                kill()
            return replace(part, file)

        return half

    wrap("pathlib:Path.replace", make)


def short_of_memory(place: str, room: int) -> None:
    """In the first call of the function, be able to map so many bytes more and no further; in the second, as before."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def limit() -> None:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + room, before[1]))

    at_call(place, 1, do=limit)
    at_call(place, 2, do=partial(resource.setrlimit, resource.RLIMIT_AS, before))


def signaled(*numbers: int) -> None:
    """Get these signals, as one who waits for each to be heard would send them."""
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0.01)


def child_killed(name: str) -> None:
    """kill -9 of the processes of this name that this process has started."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if Path("/proc", child, "comm").read_text().strip() == name:
                os.kill(int(child), signal.SIGKILL)


def replaced_by_a_file(folder: str) -> None:
    shutil.rmtree(folder)
    Path(folder).touch()
