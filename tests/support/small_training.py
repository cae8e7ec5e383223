"""Training of a narrow network on a few random pictures, in the test's own process."""

from functools import partial
from pathlib import Path

import torch
from lightning import Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

from colorlab.data.batch import Batch
from colorlab.data.loader import EpochOrder, ResumableLoader
from colorlab.models import CUNet
from colorlab.schedules import Constant, Schedule

QUIET = {
    "logger": False, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False, "num_sanity_val_steps": 0,
}  # fmt: skip
"""Arguments of a Trainer that only trains."""


OPTIM = partial(torch.optim.Adam, lr=0.1, eps=1.0)
"""With a large eps: differences by rounding must not decide the direction of a step."""


def pictures(count: int, seed: int = 0) -> list[Batch]:
    """Return random pictures of 16×16."""
    draw = torch.Generator().manual_seed(seed)
    L = torch.rand(count, 1, 16, 16, generator=draw) * 100
    ab = torch.rand(count, 2, 16, 16, generator=draw) * 60
    return [Batch(L[place], ab[place], torch.tensor(place)) for place in range(count)]


def collate(some: list[Batch]) -> Batch:
    return Batch(*(torch.stack(parts) for parts in zip(*(each[:3] for each in some), strict=True)))


def trained(
    objective: nn.Module,
    folder: Path,
    epochs: int = 1,
    resume: Path | None = None,
    schedule: Schedule | None = None,
    optim: partial | None = None,
    head: str = "ab",
    compiled: bool = False,
    **arguments: object,
) -> tuple[CUNet, Trainer]:
    """Train on seven pictures, in batches of 2, 2, 2 and 1, and validate on three.

    Args:
        objective: what the training minimizes.
        folder: the Trainer's folder.
        epochs: when it ends.
        resume: a checkpoint to go on from.
        schedule, optim: others than a constant rate and OPTIM.
        head: the network's.
        compiled: whether the network is compiled.
        arguments: of the Trainer.
    """
    seed_everything(0, verbose=False)
    model = CUNet(width=2, head=head)
    model.prepare_training(objective, optim or OPTIM, schedule or Constant(), compile_network=compiled)
    trainer = Trainer(max_epochs=epochs, default_root_dir=folder, **(QUIET | arguments))
    seven = pictures(7)
    order = EpochOrder(seven, num_replicas=trainer.world_size, rank=trainer.global_rank)
    training = ResumableLoader(seven, 2, order, num_workers=0, collate_fn=collate)
    validation = DataLoader(pictures(3, seed=1), batch_size=2, collate_fn=collate)
    trainer.fit(model, training, validation, ckpt_path=resume, weights_only=True)
    return model, trainer
