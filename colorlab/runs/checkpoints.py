"""A run's checkpoints: find the newest and the best by their file names. Imports nothing heavy."""

import hashlib
import re
from pathlib import Path

from colorlab.errors import UserError
from colorlab.runs.published import PUBLISHED

PRETRAINED = "model.safetensors"
"""File name of the weights in a folder that holds an exported model, as on Hugging Face."""

BUILT_IN = "built-in"
"""Name of the checkpoint that comes with colorlab: a narrow CUNet trained on the built-in photographs."""


class Checkpoints:
    """The folder of a run's checkpoints.

    They are found by name, `MODEL_epochNNN_lossX.ckpt` and `last.ckpt`, so a copied folder means the same.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exist(self) -> bool:
        """Return whether there is any checkpoint."""
        return any(self.path.glob("*.ckpt"))

    def newest(self) -> Path:
        """Return last.ckpt, or the checkpoint of the highest epoch.

        Raises:
            UserError: there is none.
        """
        last, named = self.path / "last.ckpt", self._named()
        if last.is_file() or named:
            return last if last.is_file() else max(named, key=_epoch)
        raise UserError(f"{self.path.parent} holds no checkpoint: give the folder of a run, or a checkpoint.")

    def newest_first(self) -> list[Path]:
        """Return all checkpoints: last.ckpt, then those of the highest epochs, then others by name."""
        found = sorted(self.path.glob("*.ckpt"))
        return sorted(found, key=lambda path: (path.name == "last.ckpt", _epoch(path)), reverse=True)

    def best(self) -> Path:
        """Return the checkpoint with the lowest loss in its name; the newest if no name has a loss.

        Raises:
            UserError: there is none.
        """
        losses = {path: loss for path in self._named() if (loss := _loss(path)) is not None}
        return min(losses, key=lambda path: (losses[path], path.name)) if losses else self.newest()

    def _named(self) -> list[Path]:
        return sorted(self.path.glob("*_epoch*_loss*.ckpt"))


def find_checkpoint(path: Path, best: bool = False) -> Path:
    """Return the checkpoint that `path` stands for.

    Args:
        path: a checkpoint, a folder with an exported model, the folder of a run, or `built-in`.
        best: of a run's folder take the best checkpoint, not the newest.

    Raises:
        UserError: there is none.
    """
    if path.is_file() or (path / PRETRAINED).is_file():
        return path
    if str(path) == BUILT_IN and not path.exists():
        return Path(__file__).parents[1] / "models" / "built_in.safetensors"
    if not path.is_dir():
        known = f", or one of {BUILT_IN}, {', '.join(PUBLISHED)}" if best else ""
        raise UserError(f"{path} does not exist: give the folder of a run, or a checkpoint{known}.")
    checkpoints = Checkpoints(path / "checkpoints")
    return checkpoints.best() if best else checkpoints.newest()


def sha256_of(checkpoint: Path) -> str:
    """Return the SHA-256 of the file that holds a checkpoint's weights, in hexadecimal."""
    with (checkpoint / PRETRAINED if checkpoint.is_dir() else checkpoint).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _epoch(checkpoint: Path) -> int:
    found = re.search(r"_epoch(\d+)_", checkpoint.name)
    return int(found[1]) if found else -1


def _loss(checkpoint: Path) -> float | None:
    found = re.search(r"_loss(-?\d+(?:\.\d+)?)", checkpoint.name)
    return float(found[1]) if found else None
