"""The socket of a page, and the host names that requests may give."""

import socket

import pytest

from colorlab.errors import UserError
from colorlab.web.serving import listen

ADVICE = "port=0 finds one."


def test_the_given_host_name_is_allowed() -> None:
    """The given name is allowed besides the address it resolves to: 127.1 resolves to 127.0.0.1 without a network."""
    with listen("127.1", 0, ADVICE) as listening:
        assert listening.hosts == ["127.0.0.1", "127.1", "localhost"]
        assert listening.address == f"http://127.1:{listening.listener.getsockname()[1]}"
    with listen("LOCALHOST", 0, ADVICE) as listening:
        assert listening.hosts == ["127.0.0.1", "localhost"]


def test_a_server_open_to_other_machines_allows_any_host_name() -> None:
    with listen("0.0.0.0", 0, ADVICE) as listening:
        assert listening.hosts == ["*"]


def test_a_connection_before_the_first_reply_is_accepted() -> None:
    with listen("127.0.0.1", 0, ADVICE) as listening:
        socket.create_connection(listening.listener.getsockname(), timeout=120).close()


def test_a_taken_port_is_reported_and_is_free_after_use() -> None:
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


def test_a_host_name_of_another_machine_is_reported() -> None:
    with pytest.raises(UserError, match=r"name\.invalid:0 cannot be used"), listen("name.invalid", 0, ADVICE):
        pass
