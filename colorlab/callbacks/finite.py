"""FiniteSteps: a loss or a gradient that is no number is neither learned from nor forgotten."""

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from colorlab.callbacks.disk import save_atomically
from colorlab.data.batch import Batch
from colorlab.errors import Stopped, UserError, printable
from colorlab.library_internals import reads_found_inf
from colorlab.models.colorizer import Colorizer
from colorlab.models.host_copy import HostCopy
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)


@dataclass
class Step:
    """An optimizer's step, of which a person is told if it has to be left out."""

    batches: list[Batch]
    losses: list[Tensor]  # of each batch
    epoch: int
    number: int  # the run's steps up to it
    in_a_row: int = 0  # steps left out up to it


class FiniteSteps(Callback):
    """Leave out each step whose loss, gradient or statistics are NaN or infinite: name its photographs, save its batch.

    Weights, the optimizer's state, BatchNorm's statistics and the epoch's `train/loss` stay as they were
    before the step; of several processes all leave it out, and so does the whole of an accumulated step.
    A fused optimizer leaves it out on the device, and nobody waits: a person is told a step later. With
    another one, in 16-mixed, and on MPS, training waits for the device once a step.

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
        self._forget()

    def _forget(self) -> None:
        self._before: list[Tensor] = []  # what changes in a step, as it was
        self._step = Step([], [], 0, 0)
        self._last: tuple[Step, HostCopy] | None = None  # and whether it was left out, which is not known yet
        self._left_out: list[Step] = []  # whom nobody has been told of

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._forget()

    def on_train_batch_start(self, trainer: Trainer, model: Colorizer, batch: Batch, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._step = Step([], [], trainer.current_epoch, trainer.global_step + 1)
            self._before = self._before or [state.clone() for state in _changing(model)]
            for before, state in zip(self._before, _changing(model), strict=True):
                before.copy_(state)
        self._step.batches.append(batch)

    def on_before_backward(self, trainer: Trainer, model: Colorizer, loss: Tensor) -> None:
        self._step.losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, model: Colorizer, optimizer: Optimizer) -> None:
        tensors = [*self._step.losses, *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
        scaler = getattr(trainer.precision_plugin, "scaler", None)  # has overflows, and leaves them out itself
        if scaler is None:
            tensors += [weight.grad for weight in model.parameters() if weight.grad is not None]
        nonfinite = (~get_total_norm(tensors).isfinite()).float()
        if trainer.world_size > 1:
            torch.distributed.all_reduce(nonfinite)
        self._judge_last()
        self._last = self._step, HostCopy(nonfinite)
        if scaler is None and _decides_on_the_device(optimizer, nonfinite.device):
            optimizer.found_inf = (nonfinite > 0).float()
            for state, before in zip(_changing(model), self._before, strict=True):
                torch.where(nonfinite > 0, before, state, out=state)
        elif self._judge_last():
            _leave_out(optimizer, scaler)
            for state, before in zip(_changing(model), self._before, strict=True):
                state.copy_(before)

    def _judge_last(self) -> bool:
        """Count the last step among those left out, or not; wait until that is known."""
        if self._last is None:
            return False
        (step, nonfinite), self._last = self._last, None
        left_out = bool(nonfinite.get())
        self.in_a_row = step.in_a_row = self.in_a_row + 1 if left_out else 0
        if left_out:
            self._left_out.append(step)
        return left_out

    def on_train_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Here, between two steps, is where a run may stop."""
        if trainer.is_last_batch:
            self._judge_last()
        self._tell(trainer)

    def on_train_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        """Of an epoch that ends early, too."""
        self._judge_last()
        self._tell(trainer)

    def on_exception(self, trainer: Trainer, model: Colorizer, exception: BaseException) -> None:
        with suppress(Exception):  # what has happened is told by others
            self._judge_last()
            self._tell(trainer, stop=False)
        self._end(trainer)

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        self._forget()
        for optimizer in trainer.optimizers:
            optimizer.found_inf = None

    def _tell(self, trainer: Trainer, stop: bool = True) -> None:
        """Tell a person of the steps that were left out, and stop the run if it is to.

        Raises:
            Stopped: it is.
        """
        reason = ""
        while self._left_out:
            step = self._left_out.pop(0)
            name_of = trainer.datamodule.photographs["train"].name
            names = [name_of(index) for each in step.batches for index in each.index.tolist()]
            loss = sum(map(float, step.losses))
            said = f"The loss of a step in epoch {step.epoch} is {loss:g}"
            if torch.tensor(loss).isfinite():
                said = f"A gradient or a statistic of a step in epoch {step.epoch} is not finite (loss {loss:g})"
            place = self._save(trainer, step, names, loss)
            log.warning("%s: the step is left out.%s It was of %s.", said, place, ", ".join(map(printable, names)))
            if self.on_nonfinite == "stop":
                reason = reason or f"{said}: callbacks.finite.on_nonfinite=skip would go on without it."
            elif step.in_a_row >= self.patience:
                reason = f"{said}, the last of {self.patience} such steps in a row: lower optim.lr."
        if reason and stop:
            raise Stopped(reason)

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", 0))
        if trainer.state.fn != TrainerFn.FITTING or torch.tensor(loss).isfinite():
            return
        said = f"val/loss is {loss:g} after epoch {trainer.current_epoch}"
        log.warning("%s: no best checkpoint comes of it.", said)
        if self.on_nonfinite == "stop":
            raise Stopped(f"{said}: callbacks.finite.on_nonfinite=skip would go on.")

    def _save(self, trainer: Trainer, step: Step, names: list[str], loss: float) -> str:
        """Save the step's batch, unless there are many such; say where."""
        if self.saved == self.patience:
            return ""
        self.saved += 1
        name = f"epoch{step.epoch:03d}_step{step.number:06d}"
        rank = f"_rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = RunFolder(trainer.default_root_dir).nonfinite / f"{name}{rank}.pt"
        content = {
            "names": names, "loss": loss, "epoch": step.epoch, "step": step.number, "seed": trainer.datamodule.seed,
            "L": torch.cat([batch.L for batch in step.batches]).cpu(),
            "ab": torch.cat([batch.ab for batch in step.batches]).cpu(),
        }  # fmt: skip
        try:
            save_atomically(content, path)
        except OSError as error:
            return f" (It cannot be saved: {error.strerror}.)"
        return f" It is saved in {path}."


def _decides_on_the_device(optimizer: Optimizer, device: torch.device) -> bool:
    """Whether an optimizer can be told there, as torch's GradScaler tells it, that its next step is to change nothing.

    A fused one can; but on MPS it does not listen, and SGD, if it is told so at its first step, never
    fills the memory of its momentum.
    """
    return reads_found_inf(optimizer) and device.type in ("cpu", "cuda") and bool(optimizer.state)


def _leave_out(optimizer: Optimizer, scaler: GradScaler | None) -> None:
    """Let an optimizer's next step change nothing.

    It leaves alone what has no gradient. A scaler that has yet to look, as before the step of a fused one,
    must find some: at infinite ones it leaves the step out itself.
    """
    if scaler is None or not reads_found_inf(optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None:
                weight.grad.fill_(math.inf)


def _changing(model: Colorizer) -> list[Tensor]:
    """What a step changes before its gradient is known."""
    return [*model.buffers(), model.epoch_loss]


class FiniteCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint to which a NaN or infinite value is never among the best, be it the first."""

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        finite = current is not None and bool(torch.as_tensor(current).isfinite())
        return finite and super().check_monitor_top_k(trainer, current)
