"""The files that colored pictures are written to: no two pictures get one, and none of another origin is replaced."""

from collections.abc import Callable
from pathlib import Path

from colorlab.colorize.finished import Finished
from colorlab.colorize.jobs import Job, check_target
from colorlab.errors import UserError
from colorlab.files import ExistsAlready, atomic_path


class Targets:
    """The targets of one call of the command.

    Args:
        force: replace files that exist.
        finished: which results earlier calls, or others that run at the same time, have written.
    """

    def __init__(self, force: bool, finished: Finished | None) -> None:
        self.force, self.finished = force, finished
        self._jobs: dict[Path, Job] = {}

    def is_free(self, target: Path, job: Job) -> bool:
        """Return whether the target is to be written; False if it holds the result already.

        Raises:
            UserError: it is another file, the source itself, or the target of another job.
        """
        if (other := self._jobs.setdefault(target, job)) is not job:  # the suffix has changed to that of the format
            raise UserError(f"its result would have the name of that of {other}")
        if not self.force and self._is_finished(target, job):
            return False
        check_target(target, job.source, self.force)
        return True

    def write(self, target: Path, job: Job, write: Callable[[Path], None]) -> None:
        """Write the target, atomically, and record it; `write` writes a file of the given path.

        Raises:
            UserError: another process has written another file there meanwhile.
        """
        try:
            with atomic_path(target, shared=True, new=not self.force) as part:
                write(part)
                if self.finished and job.source:
                    self.finished.note(target, job.source, part)
        except ExistsAlready:
            if not self._is_finished(target, job):
                check_target(target, job.source, self.force)
                raise  # it is gone again

    def _is_finished(self, target: Path, job: Job) -> bool:
        return bool(self.finished and job.source and self.finished.holds(target, job.source))
