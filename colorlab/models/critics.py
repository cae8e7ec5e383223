"""Critics: the networks of an objective that learn beside the color network."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import LBFGS, Optimizer

from colorlab.errors import UserError
from colorlab.objectives import ColorBatch, LearningObjective, Prediction
from colorlab.objectives.objective import named_terms

NO_SCALER = "An objective with a critic is not trained in 16-mixed: choose trainer.precision=bf16-mixed."
NO_LBFGS = "An objective with a critic is not trained with LBFGS: choose another optim."


class Critics:
    """Trains the critics of all `LearningObjective`s in an objective, each with its own optimizer.

    A critic's gradients are collected in each batch and averaged over the processes, and its step is taken together
    with the network's: accumulated batches are one step, and a step that is skipped is skipped by all. The Trainer's
    gradient clipping clips the gradients of each critic, too, separately from the network's.

    Args:
        objective: is searched for them.
    """

    def __init__(self, objective: nn.Module) -> None:
        modules = objective.named_modules()
        self._owners = {name: module for name, module in modules if isinstance(module, LearningObjective)}
        self.optimizers: dict[str, Optimizer] = {}
        self._lrs: dict[str, list[float]] = {}

    def check(self, trainer: Trainer) -> None:
        """Refuse what a critic cannot be trained with.

        Raises:
            UserError: 16-mixed, whose scaler handles one optimizer; or a strategy that splits networks over devices.
        """
        if self._owners and getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise UserError(NO_SCALER)
        if self._owners and not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise UserError("An objective with a critic is trained on one device, or with trainer.strategy=ddp.")

    def begin(self) -> None:
        """Build the optimizers, when the critics are on their device, and let all processes begin with equal critics.

        Raises:
            UserError: an optimizer has other parameters than the critic's.
        """
        for name, owner in self._owners.items():
            optimizer = owner.configure_optimizer()
            if not set(_weights(optimizer)) <= set(owner.critic.parameters()):
                raise UserError(f"The optimizer of {type(owner).__name__} has parameters that are not the critic's.")
            self.optimizers[name] = optimizer
            self._lrs[name] = [group["lr"] for group in optimizer.param_groups]
            if _processes() > 1:
                for tensor in owner.critic.state_dict().values():
                    distributed.broadcast(tensor, 0)

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Refuse an optimizer of the network that computes the loss several times in a step.

        Raises:
            UserError: it is LBFGS.
        """
        if self._owners and isinstance(optimizer, LBFGS):
            raise UserError(NO_LBFGS)

    def set_lrs(self, decayed: Callable[[float], float]) -> None:
        """Set the critics' learning rates for a step.

        Args:
            decayed: returns, for a learning rate, what the schedule and the plateau make of it.
        """
        for name, optimizer in self.optimizers.items():
            for group, lr in zip(optimizer.param_groups, self._lrs[name], strict=True):
                group["lr"] = decayed(lr)

    def lrs(self) -> dict[str, float]:
        """Return the learning rates by the names they are logged under; of several groups, the first one's."""
        return {f"optim/lr/{_path(name)}": each.param_groups[0]["lr"] for name, each in self.optimizers.items()}

    def learn(self, prediction: Prediction, batch: ColorBatch, batches: int) -> dict[str, Tensor]:
        """Add the gradients of the critics' own losses, and return these by the names they are logged under.

        Args:
            prediction: the network's; the critics are given it without its graph.
            batch: the batch it is for.
            batches: the number of batches of a step.
        """
        terms: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            owner = self._owners[name]
            owner.critic.train()
            _require_gradients(optimizer, True)
            losses = named_terms(owner.learn(prediction.detach(), batch), owner)
            with torch.autocast(batch.L.device.type, enabled=False):  # as torch advises for backward passes
                (sum(losses.values(), start=torch.zeros((), device=batch.L.device)) / batches).backward()
            _require_gradients(optimizer, False)
            path = _path(name)
            terms |= {f"{path}/{inner}" if inner else path: loss.detach() for inner, loss in losses.items()}
        return terms

    def evaluate(self) -> None:
        """Put the critics in evaluation mode, for a batch of validation or test."""
        for owner in self._owners.values():
            owner.critic.eval()

    def step(self, clip_value: float | None = None, clip_by: str | None = None) -> None:
        """Take the critics' steps with the gradients that have been collected, averaged over the processes.

        Args:
            clip_value: the bound of each critic's gradients; None or 0 does not clip them.
            clip_by: "value" bounds each number, anything else the norm, as Lightning does.
        """
        for name, optimizer in self.optimizers.items():
            weights = _weights(optimizer)
            if _processes() > 1:
                _average([weight.grad for weight in weights if weight.grad is not None])
            if clip_value and clip_by == "value":
                clip_grad_value_(weights, clip_value)
            elif clip_value:
                clip_grad_norm_(weights, clip_value)
            optimizer.step()
            optimizer.zero_grad()
            if _processes() > 1:  # statistics of a norm differ between processes; the checkpoint has the first's
                for buffer in self._owners[name].critic.buffers():
                    distributed.broadcast(buffer, 0)

    def gradients(self) -> list[Tensor]:
        """Return the gradients that have been collected."""
        weights = chain.from_iterable(map(_weights, self.optimizers.values()))
        return [weight.grad for weight in weights if weight.grad is not None]

    def buffers(self) -> list[Tensor]:
        """Return what the critics' forward passes change, such as BatchNorm's statistics."""
        return [buffer for name in self.optimizers for buffer in self._owners[name].critic.buffers()]

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the optimizer's state of each critic; the optimizer's settings are the run's."""
        return {
            name: {"critic": self._owners[name].critic.state_dict(), "optimizer": optimizer.state_dict()["state"]}
            for name, optimizer in self.optimizers.items()
        }

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Restore the critics; one that the checkpoint does not have begins anew.

        Raises:
            UserError: the checkpoint's is another network.
        """
        for name in self._owners.keys() & states.keys():
            owner, state = self._owners[name], states[name]
            try:
                owner.critic.load_state_dict(state["critic"])
                if optimizer := self.optimizers.get(name):
                    groups = optimizer.state_dict()["param_groups"]
                    optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"The checkpoint holds another critic than that of {type(owner).__name__}.") from error


def _path(name: str) -> str:
    """Return what a critic's numbers are logged under: "critic", or of a sum's term "TERM/critic"."""
    return "/".join((*(part for part in name.split(".") if part not in ("", "terms")), "critic"))


def _weights(optimizer: Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _require_gradients(optimizer: Optimizer, required: bool) -> None:
    for weight in _weights(optimizer):
        weight.requires_grad_(required)


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _average(gradients: list[Tensor]) -> None:
    """Average gradients over all processes, in one message."""
    if not gradients:
        return
    together = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(together)
    together /= _processes()
    for gradient, mean in zip(gradients, together.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
