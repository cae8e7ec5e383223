"""FiniteSteps: a loss or a gradient that is no number is neither learned from nor forgotten."""

import logging
import math
from typing import Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from colorlab.callbacks.disk import save_whole
from colorlab.data.device import Batch
from colorlab.data.images import shown
from colorlab.errors import Stopped, UserError
from colorlab.models.colorizer import Colorizer
from colorlab.run_folder import RunFolder

log = logging.getLogger(__name__)


class FiniteSteps(Callback):
    """Leave out each step whose loss, gradient or statistics are NaN or infinite: name its photographs, save its batch.

    Weights, the optimizer's state, BatchNorm's statistics and the epoch's `train/loss` stay as they were
    before the step; of several processes all leave it out, and so does the whole of an accumulated step.
    To know of it in time, training waits for the device once a step.

    A batch is saved as `nonfinite/epochNNN_stepNNNNNN.pt` in the run's folder, to be looked at and run
    again: `torch.load` gives its names, epoch, step, seed, loss, L and ab.

    Args:
        on_nonfinite: go on after such a step ("skip"), or not ("stop").
        patience: so many such steps in a row stop the run even so: it has diverged, and will not come back.

    Raises:
        Stopped: in training; `last.ckpt` stays that of the last epoch.
    """

    def __init__(self, on_nonfinite: Literal["skip", "stop"] = "skip", patience: int = 10) -> None:
        if patience < 1:
            raise UserError(f"callbacks.finite.patience={patience} must be at least 1.")
        self.on_nonfinite, self.patience = on_nonfinite, patience
        self.in_a_row = self.saved = 0

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._begin(model)

    def _begin(self, model: Colorizer) -> None:
        self._batches: list[Batch] = []
        self._losses: list[Tensor] = []
        self._before = [state.clone() for state in _changing(model)]
        self._left_out = False

    def on_train_batch_start(self, trainer: Trainer, model: Colorizer, batch: Batch, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._begin(model)
        self._batches.append(batch)

    def on_before_backward(self, trainer: Trainer, model: Colorizer, loss: Tensor) -> None:
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, model: Colorizer, optimizer: Optimizer) -> None:
        tensors = [*self._losses, *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
        if trainer.precision_plugin.precision != "16-mixed":  # whose scaler has overflows, and leaves them out itself
            tensors += [weight.grad for weight in model.parameters() if weight.grad is not None]
        finite = get_total_norm(tensors).isfinite()
        finite = trainer.strategy.reduce_boolean_decision(bool(finite)) if trainer.world_size > 1 else bool(finite)
        self.in_a_row = 0 if finite else self.in_a_row + 1
        self._left_out = not finite
        if not finite:
            _leave_out(optimizer, getattr(trainer.precision_plugin, "scaler", None))
            for state, before in zip(_changing(model), self._before, strict=True):
                state.copy_(before)

    def on_train_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Here, between two steps, is where a run may stop."""
        if not self._left_out:
            return
        self._left_out = False
        name_of = trainer.datamodule.photographs["train"].name
        names = [name_of(index) for each in self._batches for index in each.index.tolist()]
        loss = sum(map(float, self._losses))
        said = f"The loss of a step in epoch {trainer.current_epoch} is {loss:g}"
        if torch.tensor(loss).isfinite():
            said = f"A gradient or a statistic of a step in epoch {trainer.current_epoch} is not finite (loss {loss:g})"
        place = self._save(trainer, names, loss)
        log.warning("%s: the step is left out.%s It was of %s.", said, place, ", ".join(map(shown, names)))
        if self.on_nonfinite == "stop":
            raise Stopped(f"{said}: callbacks.finite.on_nonfinite=skip would go on without it.")
        if self.in_a_row >= self.patience:
            raise Stopped(f"{said}, the last of {self.patience} such steps in a row: lower optim.lr.")

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", 0))
        if trainer.state.fn != TrainerFn.FITTING or torch.tensor(loss).isfinite():
            return
        said = f"val/loss is {loss:g} after epoch {trainer.current_epoch}"
        log.warning("%s: no best checkpoint comes of it.", said)
        if self.on_nonfinite == "stop":
            raise Stopped(f"{said}: callbacks.finite.on_nonfinite=skip would go on.")

    def _save(self, trainer: Trainer, names: list[str], loss: float) -> str:
        """Save the step's batch, unless there are many such; say where."""
        if self.saved == self.patience:
            return ""
        self.saved += 1
        step = f"epoch{trainer.current_epoch:03d}_step{trainer.global_step:06d}"
        rank = f"_rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = RunFolder(trainer.default_root_dir).nonfinite / f"{step}{rank}.pt"
        content = {
            "names": names, "loss": loss, "epoch": trainer.current_epoch, "step": trainer.global_step,
            "seed": trainer.datamodule.seed,
            "L": torch.cat([batch.L for batch in self._batches]).cpu(),
            "ab": torch.cat([batch.ab for batch in self._batches]).cpu(),
        }  # fmt: skip
        try:
            save_whole(content, path)
        except OSError as error:
            return f" (It cannot be saved: {error.strerror}.)"
        return f" It is saved in {path}."


def _leave_out(optimizer: Optimizer, scaler: GradScaler | None) -> None:
    """Let an optimizer's next step change nothing.

    It leaves alone what has no gradient. A scaler that has yet to look, as before the step of a fused one,
    must find some: at infinite ones it leaves the step out itself.
    """
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None:
                weight.grad.fill_(math.inf)


def _changing(model: Colorizer) -> list[Tensor]:
    """What a step changes before its gradient is known."""
    return [*model.buffers(), model.learned]


class FiniteCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint to which a NaN or infinite value is never among the best, be it the first."""

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        finite = current is not None and bool(torch.as_tensor(current).isfinite())
        return finite and super().check_monitor_top_k(trainer, current)
