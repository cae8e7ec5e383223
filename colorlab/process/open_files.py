"""The limit on open files: raised as far as the system allows, and named where it is too low."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from colorlab.errors import Stopped

ENOUGH = 4096
"""Open files that no command needs: data workers share a few for each batch."""


def raise_limit() -> None:
    """Raise this process's limit on open files, which is low on some systems, if the system lets it."""
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise Stopped(
            f"Too many files are open (the limit is {limit}): ulimit -n {ENOUGH} raises it, and data.workers=0 needs"
            " fewer."
        ) from error
