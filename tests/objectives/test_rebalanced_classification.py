"""The rebalanced objective: arguments, state and training."""

import pytest
import torch
from torch import Tensor

from colorlab.bins import COUNT
from colorlab.errors import UserError
from colorlab.objectives import RebalancedClassification
from support.objectives import given


def test_gradient_steps_lower_the_loss(ab: Tensor, prior: str) -> None:
    logits = torch.zeros(4, COUNT, 16, 16, requires_grad=True)
    objective, optimizer, losses = RebalancedClassification(prior), torch.optim.Adam([logits], 0.1), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(objective(*given(logits, ab)))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_the_weights_of_the_bins_are_not_in_a_checkpoint(prior: str) -> None:
    assert RebalancedClassification(prior).state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"prior": None}, "objective.prior is missing"), ({"prior": "/nowhere"}, "There is no prior at /nowhere"),
     ({"uniform": 1.5}, "objective.uniform=1.5"), ({"k": 0}, "objective.k=0")],
)  # fmt: skip
def test_invalid_arguments_are_refused(prior: str, arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RebalancedClassification(**{"prior": prior, **arguments})
