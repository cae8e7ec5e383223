"""Rates: the learning rate and the weight decay of each parameter group in each step."""

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer

from colorlab.errors import UserError
from colorlab.models.network import ColorNetwork
from colorlab.models.parameter_groups import Group, check_settings, optimizer_groups, parameter_names, regroup
from colorlab.schedules import Schedule

log = logging.getLogger(__name__)

OptimizerFactory = Callable[[list[Group]], Optimizer]
Unit = Literal["epochs", "steps"]


class Rates:
    """Sets the learning rate and the weight decay of each group: base × schedule × plateau × the group's factor.

    The bases are the optimizer's arguments, or a group's own `lr` and `weight_decay`. Groups that a callback adds
    during training, such as Lightning's BackboneFinetuning, keep the values that the callback gives them.

    Args:
        optim: returns the optimizer of parameter groups.
        schedule: factors over time.
        unit: whether the schedule counts time in epochs or in steps of the optimizer.
        decay_norms_and_biases: as in `optimizer_groups`.
    """

    def __init__(
        self, optim: OptimizerFactory, schedule: Schedule, unit: Unit = "epochs", decay_norms_and_biases: bool = True
    ) -> None:
        self.optim, self.schedule, self.unit = optim, schedule, unit
        self.decay_norms_and_biases = decay_norms_and_biases
        self.plateau_factor = 1.0
        self.min_lr = 0.0  # decays on a plateau end here
        self._configured: list[dict[str, Any]] = []  # settings of the groups that the optimizer is built with
        self._checkpoint: dict[str, Any] | None = None

    def build_optimizer(self, model: ColorNetwork) -> Optimizer:
        """Build the optimizer of the model's parameter groups.

        Raises:
            UserError: a parameter group is wrong, or the optimizer cannot train such parameters.
        """
        groups = optimizer_groups(model, self.decay_norms_and_biases)
        optimizer = self.optim(groups)
        check_settings(groups, optimizer.defaults, model.title)
        if isinstance(optimizer, torch.optim.LBFGS):  # it views gradients as vectors, which channels-last ones are not
            model.to(memory_format=torch.contiguous_format)
        self._remember(optimizer)
        return optimizer

    def save(self, checkpoint: dict[str, Any], model: ColorNetwork, optimizers: Sequence[Optimizer]) -> None:
        """Save the names of the parameters in the groups."""
        if optimizers:
            checkpoint["parameter_groups"] = parameter_names(optimizers[0].param_groups, model)

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint until the optimizer exists whose state is in it."""
        self._checkpoint = checkpoint

    def meet(self, optimizer: Optimizer, model: ColorNetwork) -> None:
        """Fit the checkpoint to the optimizer's groups, and remember those of one that a subclass has made."""
        if self._checkpoint is not None:
            regroup(self._checkpoint, model, optimizer.param_groups)
            self._checkpoint = None
        if not self._configured:
            self._remember(optimizer)

    def begin(self, trainer: Trainer) -> None:
        """Put the configured settings back after a resume, and give the schedule the length of the training.

        Raises:
            UserError: the schedule needs a length, and the training ends by its time only.
        """
        optimizer = trainer.optimizers[0]
        for place, group in enumerate(optimizer.param_groups):
            if place < len(self._configured):
                group.update(self._configured[place])
            else:  # a callback had added it; Lightning's forgets on a resume that the weights are no longer frozen
                group.update(_without_rates(optimizer.defaults))
                for weight in group["params"]:
                    weight.requires_grad_(True)
            _match_state_to_weights(group, optimizer.state)
        if getattr(self.schedule, "length", 0) is None:
            self.schedule = copy.copy(self.schedule)
            self.schedule.length = self._length(trainer)  # type: ignore[attr-defined]  # not every schedule has one

    def set(self, trainer: Trainer, batch: int) -> Callable[[float], float]:
        """Set the rates of the step that begins with a batch.

        Args:
            trainer: the Trainer in whose first optimizer they are set.
            batch: number of batches of this epoch that have been trained.

        Returns:
            What the schedule and the plateau make of another base learning rate in this step.
        """
        batch -= batch % trainer.accumulate_grad_batches  # accumulated batches are one step
        time = (
            trainer.global_step
            if self.unit == "steps"
            else trainer.current_epoch + batch / trainer.num_training_batches
        )
        lr_factor, decay_factor = self.schedule.lr_factor(time), self.schedule.weight_decay_factor(time)
        for group, base in zip(trainer.optimizers[0].param_groups, self._configured, strict=False):
            lr = base["lr"] * base.get("lr_factor", 1.0) * lr_factor
            group["lr"] = self._on_plateau(lr)
            if "weight_decay" in base:
                plateau = group["lr"] / lr if group["lr"] > lr * self.plateau_factor else self.plateau_factor
                group["weight_decay"] = (
                    base["weight_decay"] * base.get("weight_decay_factor", 1.0) * decay_factor * plateau
                )
        return lambda base: self._on_plateau(base * lr_factor)

    def _on_plateau(self, lr: float) -> float:
        """Return a learning rate after the decays on a plateau, which end at `min_lr`."""
        return max(lr * self.plateau_factor, min(lr, self.min_lr))

    def highest(self, trainer: Trainer) -> float:
        """Return the highest learning rate of the groups in the last step."""
        groups = zip(trainer.optimizers[0].param_groups, self._configured, strict=False)
        return max(group["lr"] for group, _ in groups)

    def named(self, trainer: Trainer) -> dict[str, float]:
        """Return what is logged: optim/lr and optim/weight_decay, and of further groups optim/lr/NAME."""
        values = {}
        for number, group in enumerate(trainer.optimizers[0].param_groups, 1):
            suffix = "" if number == 1 else f"/{group.get('name', f'group{number}')}"
            for key in ("lr", "weight_decay"):
                if key in group:
                    values[f"optim/{key}{suffix}"] = float(group[key])
        return values

    def _remember(self, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        self._configured = [{key: value for key, value in group.items() if key != "params"} for group in groups]

    def _length(self, trainer: Trainer) -> float:
        """Return the length of the training in the schedule's unit."""
        length = float(trainer.estimated_stepping_batches)
        if self.unit == "epochs":
            length /= math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        if math.isinf(length):
            raise UserError("This schedule needs to know the length of the training: add schedule.length=N.")
        if length <= getattr(self.schedule, "warmup", -1):
            log.warning("The training ends, after %g %s, within schedule.warmup.", length, self.unit)
        return length


def _without_rates(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in ("lr", "weight_decay")}


def _match_state_to_weights(group: dict[str, Any], state: Mapping[Tensor, dict[str, Any]]) -> None:
    """Give an optimizer's state, which may come from another machine, the devices and layouts of its weights.

    A fused optimizer on a GPU keeps its step counts there, others keep them on the CPU.
    """
    on_device = group.get("fused") or group.get("capturable")
    for weight in group["params"]:
        moments = state.get(weight, {})
        for name, value in moments.items():
            if name == "step" and isinstance(value, Tensor):
                moments[name] = value.to(weight.device if on_device else "cpu")
            elif isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                moments[name] = torch.empty_like(weight, requires_grad=False).copy_(value)
