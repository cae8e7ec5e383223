"""What the trackers share: a tracker that fails does not end the training, and all show pictures."""

import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from lightning.pytorch.loggers import Logger
from PIL import Image

log = logging.getLogger(__name__)

Tracker = TypeVar("Tracker", bound=type[Logger])

METHODS = (
    "log_hyperparams", "log_metrics", "log_picture", "log_best", "after_save_checkpoint", "save", "finalize",
)  # fmt: skip
"""The methods of a logger that write to its tracker."""


def read_id(file: Path) -> str | None:
    """Return the id of a tracker's run in a file; None if the file is missing or damaged."""
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return content if re.fullmatch(r"[\w.-]{1,128}", content, re.ASCII) else None


def losable(kind: Tracker) -> Tracker:
    """Let training continue when a logger's tracker fails: warn once, and log nothing to it any more.

    The class gets the attribute `lost`, and needs the attribute `title` for the warning.
    """
    changed: Any = kind  # types do not describe a class whose methods are replaced
    for name in METHODS:
        if hasattr(changed, name):
            setattr(changed, name, _unless_lost(getattr(changed, name)))
    experiment = changed.experiment.fget
    changed.experiment = property(lambda self: None if self.lost else experiment(self))  # Lightning reads it at the end
    changed.lost = False
    return kind


def _unless_lost(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # of a network, a service or a disk: a tracker may raise anything
            self.lost = True
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            log.warning(
                "%s is lost (%s): training goes on without it, and metrics.csv has every number.", self.title, reason
            )

    return call


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels of a picture file, [H, W, 3] uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
