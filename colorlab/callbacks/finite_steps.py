"""FiniteSteps: training steps with NaN or infinite values change nothing, and are reported."""

import logging
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from colorlab.callbacks import datamodule_of
from colorlab.callbacks.disk import save_atomically
from colorlab.data.batch import Batch
from colorlab.errors import Stopped, UserError, printable
from colorlab.library_internals import reads_found_inf, set_found_inf
from colorlab.models.colorizer import Colorizer
from colorlab.models.host_copy import HostCopy
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)


@dataclass
class Step:
    """An optimizer's step, with what is reported if it is skipped."""

    epoch: int
    number: int  # of the run's steps, from 1
    batches: list[Batch] = field(default_factory=list)  # several if gradients are accumulated
    losses: list[Tensor] = field(default_factory=list)  # one of each batch
    in_a_row: int = 0  # consecutive skipped steps, this one included

    def loss(self) -> float:
        """Return the sum of the batches' losses; waits for the device."""
        return sum(map(float, self.losses))


class FiniteSteps(Callback):
    """Skip each step whose loss, gradient or statistics are NaN or infinite: name its photographs, save its batch.

    Weights, the optimizer's state, BatchNorm's statistics and the epoch's `train/loss` stay as they were before the
    step; those of an objective's critic, too. All processes skip it, and all of its accumulated batches. A fused
    optimizer skips it on the device, so training does not wait for the device, and the step is reported one step
    later. With other optimizers, in 16-mixed, and on MPS, training waits for the device in each step.

    A batch is saved as `nonfinite/epochNNN_stepNNNNNN.pt` in the run's folder; `torch.load` returns its names, epoch,
    step, seed, loss, L and ab.

    Args:
        on_nonfinite: "skip" continues after such a step, "stop" stops the run.
        patience: number of consecutive such steps that stops the run in any case: it has diverged.

    Raises:
        Stopped: in training; `last.ckpt` stays that of the last epoch.
    """

    def __init__(self, on_nonfinite: Literal["skip", "stop"] = "skip", patience: int = 10) -> None:
        if patience < 1:
            raise UserError(f"callbacks.finite.patience={patience} must be at least 1.")
        self.on_nonfinite, self.patience = on_nonfinite, patience
        self.in_a_row = self.saved = 0
        self._reset()

    def _reset(self, optimizers: Iterable[Optimizer] = ()) -> None:
        self._before: list[Tensor] = []  # copies of what the step's forward pass changes
        self._step = Step(0, 0)
        self._undecided: tuple[Step, HostCopy] | None = None  # whether the last step was skipped is not yet known here
        self._unreported: list[Step] = []  # skipped steps
        for optimizer in optimizers:
            set_found_inf(optimizer, None)

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._reset()

    def on_train_batch_start(self, trainer: Trainer, model: Colorizer, batch: Batch, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._step = Step(trainer.current_epoch, trainer.global_step + 1)
            self._before = self._before or [state.clone() for state in _changed_by_forward(model)]
            for before, state in zip(self._before, _changed_by_forward(model), strict=True):
                before.copy_(state)
        self._step.batches.append(batch)

    def on_before_backward(self, trainer: Trainer, model: Colorizer, loss: Tensor) -> None:
        self._step.losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, model: Colorizer, optimizer: Optimizer) -> None:
        """Let the optimizer's step change nothing if a value is not finite, and undo the forward pass."""
        critics = model.loss_terms.critics
        changed = [tensor for tensor in _changed_by_forward(model) if tensor.is_floating_point()]
        tensors = [*self._step.losses, *changed, *critics.gradients()]
        scaler = getattr(trainer.precision_plugin, "scaler", None)  # expects overflows, and skips the step itself
        if scaler is None:
            tensors += [weight.grad for weight in model.parameters() if weight.grad is not None]
        nonfinite = (~get_total_norm(tensors).isfinite()).float()
        if trainer.world_size > 1:
            torch.distributed.all_reduce(nonfinite)
        self._decide_last()
        self._undecided = self._step, HostCopy(nonfinite)
        optimizers = [optimizer, *critics.optimizers.values()]
        if scaler is None and all(_skips_on_device(each, nonfinite.device) for each in optimizers):
            for each in optimizers:
                set_found_inf(each, (nonfinite > 0).float())
            for state, before in zip(_changed_by_forward(model), self._before, strict=True):
                torch.where(nonfinite > 0, before, state, out=state)
        elif self._decide_last():
            for each in optimizers:
                _skip_next_step(each, scaler)
            for state, before in zip(_changed_by_forward(model), self._before, strict=True):
                state.copy_(before)

    def _decide_last(self) -> bool:
        """Return whether the last step was skipped, and note it for the report; waits for the device."""
        if self._undecided is None:
            return False
        (step, nonfinite), self._undecided = self._undecided, None
        skipped = bool(nonfinite.get())
        self.in_a_row = step.in_a_row = self.in_a_row + 1 if skipped else 0
        if skipped:
            self._unreported.append(step)
        return skipped

    def on_train_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Report between two steps, where a run may stop."""
        if trainer.is_last_batch:
            self._decide_last()
        self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        """Report the last step of an epoch that ends early too."""
        self._decide_last()
        self._report(trainer)

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", 0))
        if trainer.state.fn != TrainerFn.FITTING or math.isfinite(loss):
            return
        finding = f"val/loss is {loss:g} after epoch {trainer.current_epoch}"
        log.warning("%s: this epoch cannot be the best checkpoint.", finding)
        if self.on_nonfinite == "stop":
            raise Stopped(f"{finding}: callbacks.finite.on_nonfinite=skip would go on.")

    def on_exception(self, trainer: Trainer, model: Colorizer, exception: BaseException) -> None:
        with suppress(Exception):  # it must not replace the exception that ends the training
            self._decide_last()
            self._report(trainer)
        self._reset([*trainer.optimizers, *model.loss_terms.critics.optimizers.values()])

    def on_train_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._reset([*trainer.optimizers, *model.loss_terms.critics.optimizers.values()])

    def _report(self, trainer: Trainer) -> None:
        """Report all skipped steps, and then stop the run if it should.

        Raises:
            Stopped: it should.
        """
        reason = ""
        while self._unreported:
            step = self._unreported.pop(0)
            loss = step.loss()
            if math.isfinite(loss):
                finding = f"A gradient or a statistic of a step in epoch {step.epoch} is not finite (loss {loss:g})"
            else:
                finding = f"The loss of a step in epoch {step.epoch} is {loss:g}"
            names = _names(step, trainer)
            saved = ""
            if self.saved < self.patience:
                self.saved += 1
                saved = _save(step, names, trainer)
            photographs = ", ".join(map(printable, names))
            log.warning("%s: the step is left out.%s Its photographs: %s.", finding, saved, photographs)
            if self.on_nonfinite == "stop":
                reason = reason or f"{finding}: callbacks.finite.on_nonfinite=skip would go on without it."
            elif step.in_a_row >= self.patience:
                reason = f"{finding}, the last of {self.patience} such steps in a row: lower optim.lr."
        if reason:
            raise Stopped(reason)


def _names(step: Step, trainer: Trainer) -> list[str]:
    name = datamodule_of(trainer).photographs["train"].name
    return [name(index) for batch in step.batches for index in batch.index.tolist()]


def _save(step: Step, names: list[str], trainer: Trainer) -> str:
    """Save a step's batches in one file; return a sentence for the report."""
    rank = f"_rank{trainer.global_rank}" if trainer.world_size > 1 else ""
    folder = RunFolder(trainer.default_root_dir).nonfinite
    path = folder / f"epoch{step.epoch:03d}_step{step.number:06d}{rank}.pt"
    content = {
        "names": names, "loss": step.loss(), "epoch": step.epoch, "step": step.number,
        "seed": datamodule_of(trainer).seed,
        "L": torch.cat([batch.L for batch in step.batches]).cpu(),
        "ab": torch.cat([batch.ab for batch in step.batches]).cpu(),
    }  # fmt: skip
    try:
        save_atomically(content, path)
    except OSError as error:
        return f" (It cannot be saved: {error.strerror}.)"
    return f" It is saved in {path}."


def _changed_by_forward(model: Colorizer) -> list[Tensor]:
    """Return what forward passes change: statistics of BatchNorm, also the critics', and the sums of the losses."""
    return [*model.buffers(), *model.loss_terms.critics.buffers(), model.loss_terms.sums]


def _skips_on_device(optimizer: Optimizer, device: torch.device) -> bool:
    """Return whether the optimizer's kernel can skip a step by itself.

    On MPS it ignores the request. At its first step SGD would never initialize its momentum.
    """
    return reads_found_inf(optimizer) and device.type in ("cpu", "cuda") and bool(optimizer.state)


def _skip_next_step(optimizer: Optimizer, scaler: GradScaler | None) -> None:
    """Let an optimizer's next step change nothing, by removing the gradients.

    The scaler of a fused optimizer checks the gradients within the step and needs some: it skips the step if they
    are infinite.
    """
    if scaler is None or not reads_found_inf(optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None:
                weight.grad.fill_(math.inf)
