"""Disk: checkpoints that appear when they are whole, and a training that a full disk does not end."""

import io
import logging
import os
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from colorlab.errors import Stopped, UserError
from colorlab.files import atomic_path
from colorlab.models.colorizer import Colorizer
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """`torch.save` into a file that appears when it is whole.

    Raises:
        OSError: it cannot be written; what was written of it does not stay to take room.
    """
    saved = io.BytesIO()
    torch.save(content, saved)  # into a file it would not raise OSError
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(saved.getbuffer())
        file.flush()
        os.fsync(file.fileno())


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and moves it there when it is whole.

    Lightning itself writes it into the system's temporary folder. From there, if that is another disk,
    it is copied over the one before, and who dies or runs out of room meanwhile has lost both.

    One that cannot be written is said, and no older one deleted for it.
    """

    def __init__(self) -> None:
        self.failed = False  # the last one could not be written

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            save_atomically(checkpoint, Path(path))
            self.failed = False
        except OSError as error:
            self.failed = True
            log.warning("%s cannot be written (%s).", path, error.strerror)

    def remove_checkpoint(self, path: str | Path) -> None:
        if not self.failed:
            Path(path).unlink(missing_ok=True)


class Disk(Callback):
    """Write checkpoints as `AtomicCheckpointIO` does; go on without those that cannot be written, or stop.

    Who goes on tries again with each checkpoint that is due, so that room made in time loses nothing.

    Args:
        on_full: what to do without a checkpoint.

    Raises:
        Stopped: in training; at its end, if the last checkpoint is not there, in any case.
    """

    def __init__(self, on_full: Literal["go_on", "stop"] = "go_on") -> None:
        self.on_full, self.files = on_full, AtomicCheckpointIO()

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        trainer.strategy.checkpoint_io = self.files

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        if self.on_full == "stop":
            self._check(trainer)

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        """All processes agree: only the first one writes."""
        if not trainer.strategy.reduce_boolean_decision(self.files.failed, all=False):
            return
        folder = RunFolder(trainer.default_root_dir)
        try:
            left = f"make room, and resume={folder.path} goes on from {folder.checkpoints.newest().name}"
        except UserError:
            left = "make room"
        raise Stopped(f"The run's newest checkpoint cannot be written to {folder.checkpoints.path}: {left}.")
