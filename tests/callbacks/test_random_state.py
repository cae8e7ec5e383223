"""Resuming a network with dropout, bit for bit."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from colorlab.callbacks.random_state import RandomState
from colorlab.data import ColorDataModule, RandomCropFlip
from colorlab.models import CUNet
from colorlab.schedules import Constant


class WithDropout(CUNet):
    def network(self, lightness: Tensor) -> Tensor:
        return super().network(nn.functional.dropout(lightness, training=self.training))


class Steps(Callback):
    """Keep the loss of each step, and save a checkpoint after one of them."""

    def __init__(self, path: Path, save_after: int | None = None) -> None:
        self.path, self.save_after = path, save_after
        self.losses: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Trainer, model: CUNet, outputs: dict[str, Tensor], *_: object) -> None:
        self.losses[trainer.global_step] = outputs["loss"].item()
        if trainer.global_step == self.save_after:
            trainer.save_checkpoint(self.path)


def fit(
    folder: Path, epochs: int, *callbacks: Callback, workers: int = 0, resume: Path | None = None
) -> tuple[list[Tensor], Path]:
    """Return the weights after training, and the checkpoint."""
    torch.manual_seed(0)
    model = WithDropout(width=2)
    model.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, callbacks=list(callbacks), logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        limit_train_batches=3, limit_val_batches=1, log_every_n_steps=1,
    )  # fmt: skip
    data = ColorDataModule(size=32, batch_size=4, workers=workers, augment=RandomCropFlip())
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return list(model.state_dict().values()), folder / f"{epochs}.ckpt"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_with_dropout_equals_an_uninterrupted_one(tmp_path: Path, workers: int) -> None:
    """Starting a loader must not draw from the global generator: a resumed run starts them at other times."""
    within = tmp_path / "within.ckpt"
    steps = Steps(within, save_after=4)  # the first of the second epoch's three
    uninterrupted, _ = fit(tmp_path, 3, RandomState(), steps, workers=workers)
    _, between = fit(tmp_path, 1, RandomState(), workers=workers)
    for checkpoint, done in ((between, 3), (within, 4)):
        rest = Steps(within)
        resumed, _ = fit(tmp_path, 3, RandomState(), rest, workers=workers, resume=checkpoint)
        assert all(map(torch.equal, resumed, uninterrupted))
        assert rest.losses == {step: loss for step, loss in steps.losses.items() if step > done}


def test_without_the_callback_a_resumed_run_with_dropout_differs(tmp_path: Path) -> None:
    uninterrupted, _ = fit(tmp_path, 4)
    _, half = fit(tmp_path, 2)
    resumed, _ = fit(tmp_path, 4, resume=half)
    assert not all(map(torch.equal, resumed, uninterrupted))


def test_a_checkpoint_that_also_holds_the_states_of_python_and_numpy_loads(tmp_path: Path) -> None:
    uninterrupted, _ = fit(tmp_path, 4, RandomState())
    _, half = fit(tmp_path, 2, RandomState())
    content = torch.load(half, weights_only=True)
    name, keys, *rest = np.random.get_state()
    content["callbacks"]["RandomState"] |= {"python": random.getstate(), "numpy": [name, keys.tolist(), *rest]}
    torch.save(content, half)
    resumed, _ = fit(tmp_path, 4, RandomState(), resume=half)
    assert all(map(torch.equal, resumed, uninterrupted))
