"""Photographs: found, split, read, and turned into batches of (L, ab) on the device."""

from colorlab.data.datamodule import ColorDataModule

__all__ = ["ColorDataModule"]
