"""The limit on open files: raised as far as the system allows, and named where it is too low."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from colorlab.errors import Stopped, UserError

ENOUGH = 4096
"""Open files that no command needs: data workers share a few for each batch."""
FILES, FILES_OF_WORKER = 64, 16
"""Open files of a training, and of each of its data workers: estimates above what was measured."""


def raise_limit() -> None:
    """Raise this process's limit on open files, which is low on some systems, if the system lets it."""
    soft, hard = _limits()
    wanted = min(ENOUGH, hard)
    if soft < wanted:
        import resource

        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def workers_within_limit(workers: int | None, default: int) -> int:
    """Return the number of data workers to start: what was given, or `default` and fewer if the limit asks for it.

    torch would wait for ever for a worker that cannot open its pipes.

    Raises:
        UserError: so many need more open files than the limit allows.
    """
    limit, _ = _limits()
    most = max(0, (limit - FILES) // FILES_OF_WORKER)
    if workers is None:
        return min(default, most)
    if workers > most:
        raise UserError(
            f"data.workers={workers} needs more open files than the limit of {limit} allows:"
            f" ulimit -n {ENOUGH} raises it, and data.workers={most} needs fewer."
        )
    return workers


def _limits() -> tuple[int, int]:
    """Return how many files this process may have open, and the most that it may ask for."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize, sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return sys.maxsize if soft == unlimited else soft, sys.maxsize if hard == unlimited else hard


@contextmanager
def enough_open_files() -> Iterator[None]:
    """Name the limit if the block fails because too many files are open.

    Raises:
        Stopped: in place of the failure, which torch raises as another kind of error.
    """
    try:
        yield
    except (OSError, RuntimeError, ImportError) as error:
        if getattr(error, "errno", None) not in (errno.EMFILE, errno.ENFILE) and "Too many open files" not in str(
            error
        ):
            raise
        raise Stopped(
            f"Too many files are open (the limit is {_limits()[0]}): ulimit -n {ENOUGH} raises it."
        ) from error
