"""RandomState: a resumed run draws the random numbers that the interrupted one would have drawn."""

import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer

from colorlab.models.colorizer import Colorizer


class RandomState(Callback):
    """Keep the global random states in the checkpoint, as plain types.

    Order and augmentation do not need it (they depend on the seed and the epoch alone); a network
    with dropout does. With several processes, each resumes from the first one's state.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        name, keys, *rest = np.random.get_state()
        return {
            "python": random.getstate(),
            "numpy": [name, keys.tolist(), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Put it back after everything that draws while training is set up."""
        if self._restored is None:
            return
        version, internal, gauss = self._restored["python"]
        random.setstate((version, tuple(internal), gauss))
        np.random.set_state(tuple(self._restored["numpy"]))
        torch.set_rng_state(self._restored["torch"])
        if len(self._restored["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self._restored["cuda"])
        self._restored = None
