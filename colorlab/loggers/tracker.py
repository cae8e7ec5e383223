"""What trackers have in common: they may be lost, and they show pictures."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from lightning.pytorch.loggers import Logger
from PIL import Image

log = logging.getLogger(__name__)

Tracker = TypeVar("Tracker", bound=type[Logger])

TOLD = (
    "log_hyperparams", "log_metrics", "log_picture", "log_best", "after_save_checkpoint", "save", "finalize",
)  # fmt: skip
"""By what a tracker is told of a run."""


def losable(kind: Tracker) -> Tracker:
    """Let training go on without a tracker: what it raises is said once, and then it is told nothing more."""
    for name in TOLD:
        if hasattr(kind, name):
            setattr(kind, name, _unless_lost(getattr(kind, name)))
    begun = kind.experiment.fget
    kind.experiment = property(lambda self: None if self.lost else begun(self))  # Lightning asks a lost one for it too
    kind.lost = False
    return kind


def _unless_lost(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def call(self: Logger, *args: Any, **kwargs: Any) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # of a network, a service, a disk: whatever a tracker may have
            self.lost = True
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            log.warning(
                "%s is lost (%s): training goes on without it, and metrics.csv has every number.", self.title, reason
            )

    return call


def pixels_in(path: Path) -> np.ndarray:
    """A picture file as [H, W, 3] uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
