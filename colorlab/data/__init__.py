"""Photographs: found, split, read, and turned into batches of (L, ab) on the device."""

from colorlab.data.augmentation import RandomCropFlip
from colorlab.data.datamodule import ColorDataModule
from colorlab.data.sharded_datamodule import ShardedDataModule

__all__ = ["ColorDataModule", "RandomCropFlip", "ShardedDataModule"]
