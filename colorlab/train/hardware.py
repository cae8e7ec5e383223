"""Settings chosen for the machine: precision, optimizer kernels, batch size; and what to do when memory runs out."""

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from colorlab.config import Plan
from colorlab.errors import Stopped, UserError
from colorlab.train.experiment import Experiment

if TYPE_CHECKING:
    from lightning import Trainer

    from colorlab.data import ColorDataModule
    from colorlab.models import Colorizer

MIXED = ("bf16-mixed", "16-mixed")
MOST_PICTURES = {"cpu": 64}
"""Largest batch that is tried; 8192 elsewhere. When memory runs out on a CPU, the system kills the process."""


def with_fast_settings(experiment: Experiment) -> Experiment:
    """Return the experiment with the fastest settings of this machine where it does not say otherwise.

    Raises:
        UserError: see `fast_settings`.
    """
    one_size = experiment.data.arguments.get("size", 0) is not None
    fast = fast_settings(experiment.trainer, experiment.optim, one_size)
    for group, settings in fast.items():
        given = getattr(experiment, group).arguments
        chosen = {key: value for key, value in settings.items() if key not in given}
        experiment = experiment.with_arguments(group, **chosen)
    return experiment


def fast_settings(trainer: Plan, optim: Plan, one_size: bool = True) -> dict[str, dict[str, Any]]:
    """Return the fastest settings of this machine, {group: {key: value}}; the configuration overrules them.

    bf16 on a GPU that has it; a fused optimizer; and cuDNN's benchmark mode, unless the run must be
    deterministic or the pictures differ in size, since cuDNN would then measure again for each size.

    Args:
        trainer, optim: the plans of the Trainer and the optimizer.
        one_size: whether all training pictures have the same size.

    Raises:
        UserError: a fused optimizer is asked for where gradients of a mixed precision are clipped.
    """
    given = trainer.arguments
    fastest = "bf16-mixed" if _has_bf16(given.get("accelerator", "auto")) else "32-true"
    precision = given.get("precision", fastest)  # null is a choice, too: Lightning's default, float32
    clips = bool(given.get("gradient_clip_val")) and precision in MIXED
    if clips and optim.arguments.get("fused"):
        raise UserError(
            f"optim.fused=true and trainer.gradient_clip_val do not go together in {precision}: leave one of them out."
        )
    settings: dict[str, dict[str, Any]] = {
        "trainer": {"precision": precision, "benchmark": one_size and not given.get("deterministic")}
    }
    if optim.accepts("fused") and not clips and not optim.arguments.get("foreach"):
        settings["optim"] = {"fused": True}
    return settings


def _has_bf16(accelerator: str) -> bool:
    """Return whether Lightning's `accelerator` will be a GPU that computes in bf16."""
    import torch

    if accelerator not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return False
    return torch.cuda.is_bf16_supported(including_emulation=False)


def largest_batch(model: "Colorizer", data: "ColorDataModule", trainer: Plan) -> int:
    """Return the largest batch size, a power of two, that a training step has memory for.

    Lightning's tuner trains a copy of the model for three steps at each size; the model and the random state
    stay as they were. Sizes end at the number of training pictures, and on a CPU at 64.

    Raises:
        UserError: training is to run on several devices.
    """
    from lightning.pytorch.tuner import Tuner
    from lightning.pytorch.utilities.seed import isolate_rng

    quiet = {"logger": False, "callbacks": [], "enable_progress_bar": False, "enable_model_summary": False}
    short = {"max_epochs": 3, "num_sanity_val_steps": 0, "enable_checkpointing": False, "log_every_n_steps": 1}
    unlimited = {key: value for key, value in trainer.arguments.items() if not key.startswith(("limit_", "max_"))}
    with isolate_rng(), tempfile.TemporaryDirectory() as folder:
        search = Plan(trainer.target, unlimited | quiet | short).build(default_root_dir=folder)
        if search.world_size > 1:
            raise UserError(
                "trainer.scale_batch=true works on one device: add trainer.devices=1, and pass what it finds to the"
                " run on several devices as data.batch_size=N."
            )
        limit = MOST_PICTURES.get(search.strategy.root_device.type, 8192)
        trials = max(1, math.floor(math.log2(min(limit, len(data.names["train"])))))
        with _tuner_messages():
            found = Tuner(search).scale_batch_size(deepcopy(model), datamodule=data, max_trials=trials) or 1
    print(f"data.batch_size={found} found by trainer.scale_batch", flush=True)
    return found


ONEDNN_WITHOUT_MEMORY = "could not create a primitive"
"""What a convolution on the CPU raises if oneDNN has no memory left for its code or its buffers."""


@contextmanager
def enough_memory(data: "ColorDataModule", trainer: "Trainer") -> Iterator[None]:
    """Turn an out-of-memory error into a message that says which setting to lower, and by how much.

    Raises:
        Stopped: memory ran out, on the device or on the CPU.
    """
    from lightning.pytorch.utilities.memory import is_oom_error
    from torch import OutOfMemoryError

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        out_of_memory = isinstance(error, OutOfMemoryError | MemoryError) or is_oom_error(error)
        if not out_of_memory and ONEDNN_WITHOUT_MEMORY not in str(error):
            raise
        raise Stopped(_what_to_lower(data, trainer)) from error


def _what_to_lower(data: "ColorDataModule", trainer: "Trainer") -> str:
    size = data.batch_size
    said = f"{trainer.strategy.root_device} is out of memory at data.batch_size={size}"
    if size == 1:
        return f"{said}: take a smaller data.size, or a smaller model."
    half = size // 2
    parts = round(trainer.accumulate_grad_batches * size / half)
    return (
        f"{said}: data.batch_size={half} trainer.accumulate_grad_batches={parts} needs about half of it for steps of"
        f" {half * parts}; trainer.scale_batch=true finds the largest batch that fits."
    )


@contextmanager
def _tuner_messages() -> Iterator[None]:
    """Show the line that Lightning's tuner logs for each size it tries."""
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = log.level

    def is_about_a_size(record: logging.LogRecord) -> bool:
        return record.getMessage().startswith("Batch size")

    log.setLevel(logging.INFO)
    log.addFilter(is_about_a_size)
    try:
        yield
    finally:
        log.removeFilter(is_about_a_size)
        log.setLevel(before)
