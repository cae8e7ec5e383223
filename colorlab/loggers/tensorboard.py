"""TensorBoardInFolder: tensorboard's files in the run's folder."""

import functools
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from colorlab.loggers.tracker import losable, pixels_in


@losable
class TensorBoardInFolder(TensorBoardLogger):
    """A tensorboard logger that shows pictures."""

    title = "tensorboard"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _quiet_threads()

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.experiment.add_image(name, pixels_in(path), step, dataformats="HWC")


@functools.cache
def _quiet_threads() -> None:
    """Let tensorboard's writing threads end without a traceback: what ended one is raised when it is told more."""
    say = threading.excepthook

    def call(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith("tensorboard."):
            say(args)

    threading.excepthook = call
