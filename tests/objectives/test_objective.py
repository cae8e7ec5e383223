"""What objectives of each kind are given, and what they may return."""

import pytest
import torch
from torch import Tensor, nn

from colorlab.color import lab_to_rgb
from colorlab.data.batch import Batch
from colorlab.errors import UserError
from colorlab.objectives import Objective, Prediction
from colorlab.objectives.objective import terms_of

BATCH = Batch(torch.rand(2, 1, 8, 8) * 100, torch.rand(2, 2, 8, 8), torch.tensor([4, 7]))


class Returns(Objective):
    """Returns what it was built with."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, prediction: Prediction, batch: Batch) -> object:
        return self.value


def test_a_loss_of_torch_is_called_with_ab_and_ab() -> None:
    ab = torch.rand(2, 2, 8, 8)
    assert terms_of(nn.MSELoss(), Prediction(ab), BATCH) == {"": nn.MSELoss()(ab, BATCH.ab)}


def test_a_module_that_takes_logits_is_called_with_logits_and_ab() -> None:
    class OnLogits(nn.Module):
        takes_logits = True

        def forward(self, logits: Tensor, ab: Tensor) -> Tensor:
            return logits.mean() + ab.mean()

    logits = torch.rand(2, 313, 2, 2)
    terms = terms_of(OnLogits(), Prediction(lambda: pytest.fail("ab is decoded"), logits), BATCH)
    assert terms == {"": logits.mean() + BATCH.ab.mean()}


def test_an_objective_is_called_with_the_prediction_and_the_batch() -> None:
    class Weighted(Objective):
        def forward(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
            error = (prediction.ab - batch.ab).abs().mean(dim=1, keepdim=True)
            return {"light": (batch.L / 100 * error).mean(), "index": 0.0 * batch.index.float().mean()}

    terms = terms_of(Weighted(), Prediction(torch.zeros(2, 2, 8, 8)), BATCH)
    assert terms.keys() == {"light", "index"}
    assert terms["light"].item() == pytest.approx((BATCH.L[:, 0] / 100 * BATCH.ab.abs().mean(dim=1)).mean().item())


def test_ab_is_decoded_once_when_it_is_read() -> None:
    calls = []
    prediction = Prediction(lambda: calls.append(1) or torch.ones(1, 2, 4, 4, requires_grad=True) * 2)
    detached = prediction.detach()
    assert calls == []
    assert prediction.ab is prediction.ab
    assert torch.equal(detached.ab, prediction.ab)
    assert (prediction.ab.requires_grad, detached.ab.requires_grad) == (True, False)
    assert calls == [1]


def test_the_picture_is_converted_once_and_without_a_graph_from_a_detached_prediction() -> None:
    ab = (BATCH.ab * 20).requires_grad_()
    prediction = Prediction(ab)
    detached = prediction.detach()
    assert prediction.rgb(BATCH.L) is prediction.rgb(BATCH.L)
    assert torch.equal(prediction.rgb(BATCH.L), lab_to_rgb(BATCH.L, ab))
    assert (prediction.rgb(BATCH.L).requires_grad, detached.rgb(BATCH.L).requires_grad) == (True, False)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "Returns returns no terms"),
        (torch.zeros(2, 2), r"Returns returns a value of shape \[2, 2\], and not one number"),
        ({"a": torch.tensor(1.0), "b": torch.zeros(3)}, r"Returns returns b of shape \[3\]"),
        (3.0, "Returns returns a value of type float"),
    ],
)
def test_a_value_that_is_no_number_is_refused(value: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        terms_of(Returns(value), Prediction(BATCH.ab), BATCH)
