"""Checkpoints: of networks that were never trained, and compared."""

from pathlib import Path
from typing import Any

import torch

from colorlab.models.colorizer import Colorizer


def save_checkpoint(model: Colorizer, path: Path) -> Path:
    """Save the part of Lightning's checkpoint that `colorlab.load` reads, and return the path."""
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content | {"colorizer": model.qualified_name()}, path)
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest absolute difference between the weights of two checkpoints."""
    first, second = (read_checkpoint(path)["state_dict"] for path in (one, other))
    assert first.keys() == second.keys()
    return max((first[key].double() - second[key].double()).abs().max().item() for key in first)
