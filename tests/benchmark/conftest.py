"""Benchmarks that measure memory in a new process."""

import pytest

from support.fork_server import start_server


@pytest.fixture(scope="session", autouse=True)
def _server_of_the_other_tests() -> None:
    """Let the new processes be forked from the server that the other tests use, too."""
    start_server()
