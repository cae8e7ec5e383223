"""Disk: checkpoint files are never partial, and a full disk does not end a training."""

import io
import logging
import os
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from colorlab.callbacks.checkpoints import checkpoint_callbacks, is_inside
from colorlab.errors import Stopped, UserError
from colorlab.files import atomic_path
from colorlab.models.colorizer import Colorizer
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write a file with `torch.save`; it appears under its name only when it is complete.

    Raises:
        OSError: it cannot be written; the incomplete file is removed.
    """
    saved = io.BytesIO()
    torch.save(content, saved)  # into a file it would not raise OSError
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(saved.getbuffer())
        file.flush()
        os.fsync(file.fileno())


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint into the same folder under another name, and rename it when it is complete.

    Lightning writes it into the system's temporary folder. If that is another disk, it is copied over the previous
    checkpoint from there, and a crash or a full disk during the copy loses both.

    If a checkpoint cannot be written, a warning is logged, and no older checkpoint is deleted for it. Nothing is ever
    deleted outside of the folders that checkpoints are written to.
    """

    def __init__(self) -> None:
        self.failed = False  # the newest checkpoint could not be written
        self.writers: list[ModelCheckpoint] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            save_atomically(checkpoint, Path(path))
            self.failed = False
        except OSError as error:
            self.failed = True
            log.warning("%s cannot be written (%s).", path, error.strerror)

    def remove_checkpoint(self, path: str | Path) -> None:
        if not any(writer.dirpath and is_inside(path, writer.dirpath) for writer in self.writers):
            log.warning("%s is not deleted: it is in none of the folders of this run's checkpoints.", path)
        elif not self.failed:
            Path(path).unlink(missing_ok=True)


class Disk(Callback):
    """Write checkpoints with `AtomicCheckpointIO`; if one cannot be written, continue without it or stop.

    A training that continues tries again with the next checkpoint.

    Args:
        on_full: "go_on" continues without a checkpoint that cannot be written, "stop" stops after the epoch.

    Raises:
        Stopped: in training; at its end in any case, if the last checkpoint could not be written.
    """

    def __init__(self, on_full: Literal["go_on", "stop"] = "go_on") -> None:
        self.on_full, self.checkpoint_io = on_full, AtomicCheckpointIO()

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        trainer.strategy.checkpoint_io = self.checkpoint_io
        self.checkpoint_io.writers = list(checkpoint_callbacks(trainer))

    def on_train_epoch_start(self, trainer: Trainer, model: Colorizer) -> None:
        if self.on_full == "stop":
            self._stop_if_failed(trainer)

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._stop_if_failed(trainer)

    def _stop_if_failed(self, trainer: Trainer) -> None:
        """Stop all processes if the first one, which writes, could not write the newest checkpoint.

        Raises:
            Stopped: it could not.
        """
        if not trainer.strategy.reduce_boolean_decision(self.checkpoint_io.failed, all=False):
            return
        folder = RunFolder(trainer.default_root_dir)
        try:
            remedy = f"make room, and resume={folder.path} goes on from {folder.checkpoints.newest().name}"
        except UserError:
            remedy = "make room"
        raise Stopped(f"The run's newest checkpoint cannot be written to {folder.checkpoints.path}: {remedy}.")
