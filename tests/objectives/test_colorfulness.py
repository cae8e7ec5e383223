"""The colorfulness objective against the metric."""

import pytest
import torch
from torch import Tensor

from colorlab.data.batch import Batch
from colorlab.metrics.per_picture import Colored, colorfulness
from colorlab.objectives import Colorfulness, Prediction


def batch_of(ab: Tensor) -> Batch:
    return Batch(torch.rand_like(ab[:, :1]) * 100, ab, torch.arange(len(ab)))


def test_it_is_minus_the_metric_for_colors_in_0_to_1(ab: Tensor) -> None:
    batch, predicted = batch_of(ab), ab.flip(0) * 1.5
    expected = colorfulness(Colored(batch.L, predicted, ab)).mean() / 255
    assert Colorfulness()(Prediction(predicted), batch).item() == pytest.approx(-expected.item(), rel=1e-6)


def test_its_gradient_equals_finite_differences(ab: Tensor) -> None:
    batch = Batch(torch.full_like(ab[:1, :1], 50), ab[:1], torch.arange(1))
    predicted = (ab[:1] / 2).requires_grad_()
    direction = torch.sign(torch.randn_like(predicted))
    Colorfulness()(Prediction(predicted), batch).backward()
    low, high = (Colorfulness()(Prediction(predicted.detach() + step * direction), batch) for step in (-0.05, 0.05))
    assert (predicted.grad * direction).sum().item() == pytest.approx((high - low).item() / 0.1, rel=0.02)


@pytest.mark.parametrize("color", [0.0, 1e-6, 300.0])
@pytest.mark.parametrize("L", [0.0, 50.0, 100.0])
def test_gradients_of_gray_black_white_and_impossible_colors_are_finite(color: float, L: float) -> None:
    predicted = torch.full((2, 2, 8, 8), color, requires_grad=True)
    Colorfulness()(Prediction(predicted), Batch(torch.full((2, 1, 8, 8), L), predicted, torch.arange(2))).backward()
    assert predicted.grad.isfinite().all()


def test_gradient_steps_make_pictures_more_colorful(ab: Tensor) -> None:
    batch, predicted = batch_of(ab), (ab / 10).requires_grad_()
    optimizer, values = torch.optim.Adam([predicted], 0.5), []
    for _ in range(10):
        optimizer.zero_grad()
        values.append(Colorfulness()(Prediction(predicted), batch))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 2 * values[0] < 0
