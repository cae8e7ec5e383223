"""Callbacks: what happens during a training beside the training itself."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import Trainer

    from colorlab.data import ColorDataModule


def datamodule_of(trainer: "Trainer") -> "ColorDataModule":
    """Return the data module that a Trainer runs with."""
    return trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning, and not declared
