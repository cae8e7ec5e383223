"""A weighted sum of objectives."""

import math

from torch import Tensor, nn

from colorlab.errors import UserError, did_you_mean
from colorlab.objectives.objective import ColorBatch, Objective, Prediction, terms_of


class Sum(Objective):
    """Weighted sum of objectives by name; each term is logged, as `train/loss/NAME` and `val/loss/NAME`.

    The logged terms include their weights, so they add up to the loss. The terms of a term are `NAME/TERM`.

    Args:
        terms: objectives by name.
        weights: weights by name; 1 for a term that has none here.

    Raises:
        UserError: there are no terms, a name cannot be used, or a weight belongs to no term or is not finite.
    """

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if not terms:
            raise UserError("objective.terms is empty: add one as '+objective.terms.NAME={_target_: …}'.")
        for name in terms:
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise UserError(f"objective.terms.{name}: take another name, of letters, digits and _, as vgg or l1.")
        for name, weight in weights.items():
            if name not in terms:
                raise UserError(f"objective.weights.{name} belongs to no term: {did_you_mean(name, list(terms))}")
            if not math.isfinite(weight):
                raise UserError(f"objective.weights.{name}={weight} must be finite.")
        self.terms = nn.ModuleDict(terms)
        self.weights = {name: weights.get(name, 1.0) for name in terms}

    def forward(self, prediction: Prediction, batch: ColorBatch) -> dict[str, Tensor]:
        return {
            f"{name}/{inner}" if inner else name: self.weights[name] * value
            for name, term in self.terms.items()
            for inner, value in terms_of(term, prediction, batch).items()
        }
