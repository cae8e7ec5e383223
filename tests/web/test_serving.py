"""Where a page is served, and by which names it may be called."""

import socket

import pytest

from colorlab.errors import UserError
from colorlab.web.serving import listen

ADVICE = "port=0 finds one."


def test_the_name_that_was_asked_for_may_be_used() -> None:
    """Not only the address it stands for: 127.1 is a name of 127.0.0.1 that needs no network."""
    with listen("127.1", 0, ADVICE) as listening:
        assert listening.hosts == ["127.0.0.1", "127.1", "localhost"]
        assert listening.address == f"http://127.1:{listening.listener.getsockname()[1]}"
    with listen("LOCALHOST", 0, ADVICE) as listening:
        assert listening.hosts == ["127.0.0.1", "localhost"]


def test_who_lets_others_in_is_called_by_any_name() -> None:
    with listen("0.0.0.0", 0, ADVICE) as listening:
        assert listening.hosts == ["*"]


def test_a_browser_that_comes_before_the_first_answer_waits() -> None:
    with listen("127.0.0.1", 0, ADVICE) as listening:
        socket.create_connection(listening.listener.getsockname(), timeout=120).close()


def test_a_port_that_is_taken_gets_a_sentence_and_is_free_after_use() -> None:
    with listen("127.0.0.1", 0, ADVICE) as first:
        _, port = first.listener.getsockname()
        with (
            pytest.raises(
                UserError, match=rf"127.0.0.1:{port} cannot be used \(Address already in use\): port=0 finds"
            ),
            listen("127.0.0.1", port, ADVICE),
        ):
            pass
    with listen("127.0.0.1", port, ADVICE):
        pass


def test_a_name_of_another_machine_gets_a_sentence() -> None:
    with pytest.raises(UserError, match=r"name\.invalid:0 cannot be used"), listen("name.invalid", 0, ADVICE):
        pass
