"""Resuming a network with dropout, bit for bit."""

import random
from pathlib import Path

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from colorlab.callbacks.random_state import RandomState
from colorlab.data.batch import Batch
from colorlab.models import CUNet
from colorlab.schedules import Constant

BATCH = Batch(torch.rand(1, 1, 16, 16) * 100, torch.ones(1, 2, 16, 16), torch.tensor([0]))
BATCHES = DataLoader([BATCH] * 3, None, generator=torch.Generator())  # of its own, as that of a ColorDataModule


class WithDropout(CUNet):
    def network(self, lightness: Tensor) -> Tensor:
        return super().network(nn.functional.dropout(lightness, training=self.training))


def fit(folder: Path, epochs: int, *callbacks: Callback, resume: Path | None = None) -> tuple[list[Tensor], Path]:
    """Return the weights after training, and the checkpoint."""
    torch.manual_seed(0)
    model = WithDropout(width=2)
    model.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, callbacks=list(callbacks), logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(model, BATCHES, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return list(model.state_dict().values()), folder / f"{epochs}.ckpt"


def test_a_resumed_run_with_dropout_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    uninterrupted, _ = fit(tmp_path, 4, RandomState())
    _, half = fit(tmp_path, 2, RandomState())
    resumed, _ = fit(tmp_path, 4, RandomState(), resume=half)
    without, _ = fit(tmp_path, 4, resume=half)
    assert all(map(torch.equal, resumed, uninterrupted))
    assert not all(map(torch.equal, without, uninterrupted))


def test_a_checkpoint_that_also_holds_the_states_of_python_and_numpy_loads(tmp_path: Path) -> None:
    uninterrupted, _ = fit(tmp_path, 4, RandomState())
    _, half = fit(tmp_path, 2, RandomState())
    content = torch.load(half, weights_only=True)
    name, keys, *rest = np.random.get_state()
    content["callbacks"]["RandomState"] |= {"python": random.getstate(), "numpy": [name, keys.tolist(), *rest]}
    torch.save(content, half)
    resumed, _ = fit(tmp_path, 4, RandomState(), resume=half)
    assert all(map(torch.equal, resumed, uninterrupted))
