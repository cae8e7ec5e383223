"""A logger to tensorboard's files in the run's folder."""

import functools
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from colorlab.loggers.tracker import losable, read_pixels


@losable
class TensorBoardInFolder(TensorBoardLogger):
    """A tensorboard logger that shows pictures."""

    title = "tensorboard"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _quiet_threads()

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.experiment.add_image(name, read_pixels(path), step, dataformats="HWC")


@functools.cache
def _quiet_threads() -> None:
    """Keep tensorboard's writer threads from printing tracebacks: their error is raised at the next write."""
    print_traceback = threading.excepthook

    def print_unless_tensorboard(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith("tensorboard."):
            print_traceback(args)

    threading.excepthook = print_unless_tensorboard
