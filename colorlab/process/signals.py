"""The signals that ask a command to stop: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal. Imports nothing heavy."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from colorlab.errors import Interrupted

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Windows has no SIGHUP."""


@contextmanager
def handling_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call `handler` on a signal within the block, if this is the main thread: only there Python allows it.

    A SIGHUP that is ignored, as after `nohup`, stays ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise `Interrupted` on the first signal within the block; exit at once on a second one."""
    process_id, stopping = os.getpid(), False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if os.getpid() != process_id:  # a fork, such as a data worker, which the main process ends by SIGTERM
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif stopping:
            os._exit(128 + number)
        else:
            stopping = True
            raise Interrupted(number)

    with handling_signals(stop):
        yield
