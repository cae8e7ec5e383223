"""Checkpoints of networks that were never trained."""

from pathlib import Path

import torch

from colorlab.models.colorizer import Colorizer


def save_checkpoint(model: Colorizer, path: Path) -> Path:
    """Save the part of Lightning's checkpoint that `colorlab.load` reads, and return the path."""
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content | {"colorizer": model.qualified_name()}, path)
    return path
