"""Faults that are injected into the process of a command at a chosen call of a function.

Functions are named as `module:name` or `module:Class.name`.
"""

import importlib
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any


def kill_process_group() -> None:
    """Kill this process and its group with SIGKILL."""
    os.killpg(0, signal.SIGKILL)


def wrap_function(name: str, wrapper: Callable[[Callable], Callable]) -> None:
    """Replace a function by `wrapper(function)`."""
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    inner = getattr(owner, attribute)
    setattr(owner, attribute, wraps(inner)(wrapper(inner)))


def set_value(name: str, value: Any) -> None:
    """Set a module's global variable."""
    module, _, variable = name.partition(":")
    setattr(importlib.import_module(module), variable, value)


def call_all(*functions: Callable[[], None]) -> None:
    """Call one function after another."""
    for function in functions:
        function()


def at_call(name: str, number: int, after: bool = False, do: Callable[[], None] = kill_process_group) -> None:
    """Call `do` immediately before, or after, the `number`th call of the function."""
    calls = 0

    def wrapper(inner: Callable) -> Callable:
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

    wrap_function(name, wrapper)


def kill_during_checkpoint(number: int) -> None:
    """Kill the process group when half of the `number`th checkpoint is on disk.

    Checkpoints are the only files that are synchronized: the call of `os.fsync` is where their bytes reach the disk.
    """
    calls = 0

    def wrapper(fsync: Callable) -> Callable:
        def half(file: int) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                os.ftruncate(file, os.fstat(file).st_size // 2)
                kill_process_group()
            fsync(file)

        return half

    wrap_function("os:fsync", wrapper)


def kill_during_file_write(number: int) -> None:
    """Kill the process group when half of the `number`th file that is written atomically is on disk.

    Such a file is written under a temporary name and then renamed by `Path.replace`, or by `os.link`.
    """
    calls = 0

    def wrapper(rename: Callable) -> Callable:
        def half(part: Path, file: Path) -> Path:
            nonlocal calls
            calls += 1
            if calls == number:
                os.truncate(part, part.stat().st_size // 2)
                kill_process_group()
            return rename(part, file)

        return half

    wrap_function("pathlib:Path.replace", wrapper)
    wrap_function("os:link", wrapper)


def limit_memory_during(name: str, room: int) -> None:
    """Let the first call of the function map at most `room` bytes of memory more; lift the limit at the second."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def limit() -> None:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + room, before[1]))

    at_call(name, 1, do=limit)
    at_call(name, 2, do=partial(resource.setrlimit, resource.RLIMIT_AS, before))


def send_signals_to_self(*numbers: int) -> None:
    """Send these signals to this process, one after another has been handled."""
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0.01)


def stop_clock() -> None:
    """Let it be noon whenever a configuration names the time."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("now", datetime(2026, 1, 1, 12).strftime, replace=True)


def limit_open_files(number: int) -> None:
    """Allow this process so many open files, and no more later."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def break_output(device: str | None, *descriptors: int) -> None:
    """Let writes to these file descriptors fail: as a pipe that nobody reads, or as /dev/full."""
    if device:
        failing = os.open(device, os.O_WRONLY)
    else:
        reading, failing = os.pipe()
        os.close(reading)
    for descriptor in descriptors:
        os.dup2(failing, descriptor)


def kill_children_named(name: str) -> None:
    """Kill the child processes of this name with SIGKILL."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if Path("/proc", child, "comm").read_text().strip() == name:
                os.kill(int(child), signal.SIGKILL)


def replace_folder_by_file(folder: str) -> None:
    """Remove the folder and put an empty file in its place."""
    shutil.rmtree(folder)
    Path(folder).touch()
