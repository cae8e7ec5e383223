"""A logger that writes a run's numbers to its folder, whichever tracker is chosen."""

from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from colorlab.files import optional_file
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_rows, write_rows


class MetricsCSV(Logger):
    """Write one row per epoch to `metrics.csv`, and continue the file after a resume.

    Lightning's CSVLogger deletes the file of the run it resumes. This logger drops only the rows after
    the checkpoint, which the resumed run writes again.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = RunFolder(folder).metrics
        self._rows: dict[int, dict[str, float]] | None = None

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's folder holds its configuration as a file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self._rows is None:
            self._rows = {row: values for row, values in read_rows(self.path).items() if row < (step or 0)}
        self._rows.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        """Write the whole table: it has one row per epoch, so rewriting it costs little."""
        if self._rows:
            with optional_file(self.path):
                write_rows(self.path, self._rows)

    def finalize(self, status: str) -> None:
        self.save()
