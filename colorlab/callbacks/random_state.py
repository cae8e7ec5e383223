"""RandomState: a resumed run draws the random numbers that an uninterrupted one would draw."""

from typing import Any

import torch
from lightning import Callback, Trainer

from colorlab.models.colorizer import Colorizer


class RandomState(Callback):
    """Save the states of torch's global random generators in the checkpoint, and restore them.

    Dropout draws from them; the order of the photographs and the augmentation depend on the seed and the epoch only.
    With several processes, each resumes from the state of the first.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Restore the states, after all that draws during the setup of the training."""
        if self._restored is None:
            return
        torch.set_rng_state(self._restored["torch"])
        if len(self._restored["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self._restored["cuda"])
        self._restored = None
