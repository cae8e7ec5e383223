"""Checks of colored pictures."""

import struct
import zlib

import numpy as np
import torch

from colorlab.color import rgb_to_lab


def lightness(rgb: np.ndarray) -> np.ndarray:
    """Return the L of [H, W, 3] uint8 or uint16."""
    whole = np.iinfo(rgb.dtype).max
    return rgb_to_lab(torch.from_numpy(rgb.astype(np.float32) / whole).movedim(-1, 0)[None])[0][0, 0].numpy()


def is_colored(rgb: np.ndarray) -> bool:
    """Return whether red, green and blue differ by more than lossy compression makes them."""
    return rgb.ndim == 3 and bool(np.ptp(rgb[..., :3].astype(np.int32), axis=2).mean() > 0.1 * np.iinfo(rgb.dtype).max)


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
