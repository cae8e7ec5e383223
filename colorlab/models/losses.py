"""Losses: the objective of a training, and the means of its terms over an epoch."""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from colorlab.errors import UserError
from colorlab.models.critics import Critics
from colorlab.objectives import ColorBatch, Prediction
from colorlab.objectives.objective import terms_of

MOST_TERMS = 62


class Losses:
    """An objective, its critics, and the sums of its terms in this epoch and process.

    It is not an `nn.Module`: what an objective owns is no part of the model, so it is neither trained, averaged or
    saved with the model, nor looked for among a checkpoint's weights.

    Args:
        objective: its weights are frozen, and it is put in evaluation mode.
    """

    def __init__(self, objective: nn.Module) -> None:
        self.objective = objective.requires_grad_(False).eval()
        self.critics = Critics(objective)
        self.names: list[str] = []
        """Names of the terms, beside the loss itself; empty until the first step."""
        self.sums = torch.zeros(2 + MOST_TERMS)
        """Sums of loss × pictures, of pictures, and of term × pictures in the order of the names; then zeros."""
        self._named = False

    @property
    def take_logits(self) -> bool:
        """Whether the objective reads the logits of bins."""
        return any(getattr(module, "takes_logits", False) for module in self.objective.modules())

    def begin(self, trainer: Trainer) -> None:
        """Move the objective and the sums to the Trainer's device, and for a training prepare the critics' optimizers.

        Raises:
            UserError: the critics cannot be trained with the Trainer.
        """
        device = trainer.strategy.root_device
        self.objective.to(device)
        self.sums = self.sums.to(device)
        if trainer.state.fn == TrainerFn.FITTING:
            self.critics.check(trainer)
            self.critics.begin()

    def in_training(self, prediction: Prediction, batch: ColorBatch, batches: int = 1) -> Tensor:
        """Return the loss of a training batch, add its terms to the sums, and let the critics learn from it.

        Args:
            prediction: the network's.
            batch: the batch it is for.
            batches: the number of batches of a step.

        Raises:
            UserError: the objective returns other terms than in the step before, or too many.
        """
        learned = self.critics.learn(prediction, batch, batches)
        terms = terms_of(self.objective, prediction, batch)
        loss = _total(terms)
        named = {name: value for name, value in terms.items() if name}
        if both := named.keys() & learned.keys():
            raise UserError(f"The objective returns a term that a critic has, too: {min(both)}. Rename it.")
        self._add(loss, named | learned, len(batch.L))
        return loss

    def in_validation(self, prediction: Prediction, batch: ColorBatch) -> dict[str, Tensor]:
        """Return the loss and its terms for a batch of validation or test: {"loss": …, "loss/NAME": …}."""
        self.critics.evaluate()
        terms = terms_of(self.objective, prediction, batch)
        return {"loss": _total(terms)} | {f"loss/{name}": value for name, value in terms.items() if name}

    def _add(self, loss: Tensor, terms: Mapping[str, Tensor], pictures: int) -> None:
        if list(terms) != self.names or not self._named:
            self._name(list(terms))
        # torchmetrics' MeanMetric looks for NaN, which waits for a GPU
        self.sums[0] += loss.detach() * pictures
        self.sums[1] += pictures
        if terms:
            values = torch.stack([term.detach().float() for term in terms.values()])
            self.sums[2 : 2 + len(values)] += values * pictures

    def _name(self, names: list[str]) -> None:
        """Take the names of the first step; those of a resumed run were another objective's if they differ."""
        if self._named:
            raise UserError(f"The objective returns the terms {names} after {self.names}: they must stay the same.")
        if len(names) > MOST_TERMS:
            raise UserError(f"The objective returns {len(names)} terms; {MOST_TERMS} are the most.")
        if names != self.names:
            self.names = names
            self.sums[2:] = 0
        self._named = True

    def epoch_means(self, reduced: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Return the means over the epoch's pictures by the names they are logged under, and begin new sums.

        Args:
            reduced: returns a tensor's sum over all processes.
        """
        loss, pictures, *terms = reduced(self.sums)[: 2 + len(self.names)]
        self.sums = torch.zeros_like(self.sums)
        means = {f"train/loss/{name}": term / pictures for name, term in zip(self.names, terms, strict=True)}
        return {"train/loss": loss / pictures} | means

    def save(self, checkpoint: dict[str, Any], gathered: Callable[[Tensor], Any]) -> None:
        """Add the sums of each process and the critics to a checkpoint.

        Args:
            checkpoint: Lightning's checkpoint.
            gathered: returns a tensor of all processes, stacked.
        """
        used = 2 + len(self.names)
        checkpoint["learned"] = gathered(self.sums).reshape(-1, len(self.sums))[:, :used].tolist()
        checkpoint["terms"] = list(self.names)
        if critics := self.critics.state_dict():
            checkpoint["critics"] = critics

    def load(self, checkpoint: Mapping[str, Any], process: int, processes: int) -> None:
        """Restore the critics, and the sums of a process: equal shares if the number of processes has changed.

        Raises:
            UserError: the checkpoint holds another critic.
        """
        self.critics.load_state_dict(checkpoint.get("critics", {}))
        sums = torch.tensor(checkpoint.get("learned", [[0.0, 0.0]]))
        own = sums[process] if len(sums) == processes else sums.sum(dim=0) / processes
        self.names, self._named = list(checkpoint.get("terms", [])), False
        self.sums = torch.zeros_like(self.sums)
        self.sums[: len(own)] = own.to(self.sums.device)


def _total(terms: Mapping[str, Tensor]) -> Tensor:
    return reduce(add, terms.values())
