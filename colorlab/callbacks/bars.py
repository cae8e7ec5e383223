"""Bars: one line on a terminal that shows how far a loop over batches is."""

import math
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich import progress
from rich.console import Console


class LoopBars(ProgressBar):
    """Show a bar in each validation, test and prediction.

    Args:
        refresh_rate: updates of the bar per second.
        leave: whether the bar of a finished loop stays on the screen.
    """

    def __init__(self, refresh_rate: float = 1.0, leave: bool = False) -> None:
        super().__init__()
        self._bar = Bar(refresh_rate, leave)

    def disable(self) -> None:
        self._bar.enabled = False

    def enable(self) -> None:
        self._bar.enabled = True

    def on_validation_batch_end(self, trainer: Trainer, *others: Any) -> None:
        self._count("validation", sum(trainer.num_val_batches), *others)

    def on_test_batch_end(self, trainer: Trainer, *others: Any) -> None:
        self._count("test", sum(trainer.num_test_batches), *others)

    def on_predict_batch_end(self, trainer: Trainer, *others: Any) -> None:
        self._count("photographs", sum(trainer.num_predict_batches), *others)

    def _count(self, title: str, batches: float, model: Any, outputs: Any, batch: Any, batch_idx: int, *_: int) -> None:
        self._bar.open(title, batches)
        self._bar.advance(batch_idx + 1)
        if batch_idx + 1 == batches:
            self._bar.close()

    def on_exception(self, trainer: Trainer, model: Any, exception: BaseException) -> None:
        self._bar.close()

    def teardown(self, trainer: Trainer, model: Any, stage: str) -> None:
        self._bar.close()


class Bar:
    """One line on a terminal; without a terminal, nothing.

    Args:
        refresh_rate: updates per second.
        leave: whether it stays on the screen when it is closed.
    """

    def __init__(self, refresh_rate: float, leave: bool) -> None:
        self.enabled = True
        self._refresh_rate, self._leave = refresh_rate, leave
        self._line: progress.Progress | None = None

    @property
    def shown(self) -> bool:
        """Whether the line is on the screen."""
        return self._line is not None

    def open(self, title: str, total: float) -> None:
        """Show the line, unless it is shown already."""
        if self._line is not None or not self.enabled or not (console := Console(stderr=True)).is_terminal:
            return
        columns = (
            progress.TextColumn("{task.description}"), progress.BarColumn(15), progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[numbers]}"),
        )  # fmt: skip
        self._line = progress.Progress(
            *columns, console=console, transient=not self._leave, refresh_per_second=self._refresh_rate
        )
        self._line.add_task(title, total=None if math.isinf(total) else total, numbers="")
        self._line.start()

    def advance(self, completed: int) -> None:
        """Set how many batches are done."""
        if self._line is not None:
            self._line.update(self._line.task_ids[0], completed=completed)

    def show(self, numbers: list[str]) -> None:
        """Show numbers behind the bar."""
        if self._line is not None:
            self._line.update(self._line.task_ids[0], numbers=", ".join(numbers))

    def close(self) -> None:
        """Take the line off the screen."""
        if self._line is not None:
            self._line.stop()
            self._line = None
