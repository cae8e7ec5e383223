"""Whether another process still runs."""

import os

import pytest

from colorlab.process.alive import is_alive


def test_a_process_is_alive_until_it_ends() -> None:
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    assert is_alive(child)
    os.close(writing)
    os.waitpid(child, 0)
    assert not is_alive(child)
    assert is_alive(1)  # usually another user's
    assert not is_alive(10**30)


def test_no_process_is_asked_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, the signal 0 is Ctrl-C."""
    asked: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        patch.setattr(os, "kill", lambda process_id, _: asked.append(process_id))
        assert is_alive(2**22 + 1)
    assert asked == []
