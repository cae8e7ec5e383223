"""The classification objectives against the dense formula of the paper."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from colorlab.bins import CENTERS, COUNT, rebalancing
from colorlab.data.color_histogram import read_prior
from colorlab.objectives import Classification, RebalancedClassification
from support.objectives import given


def dense_target(ab: Tensor, k: int) -> Tensor:
    """Compute the paper's formula in float64: [B, 313, h, w]."""
    distance = torch.cdist(ab.double().movedim(1, -1).flatten(1, 2), CENTERS.double().expand(len(ab), -1, -1))
    nearest = distance.topk(k, largest=False)
    weight = torch.exp(-(nearest.values**2) / 50)
    weight = weight / weight.sum(dim=-1, keepdim=True)
    target = torch.zeros_like(distance).scatter_(-1, nearest.indices, weight)
    return target.unflatten(1, ab.shape[-2:]).movedim(-1, 1)


def dense_loss(logits: Tensor, ab: Tensor, k: int, weight: Tensor) -> Tensor:
    target = dense_target(ab, k)
    factor = weight[target.argmax(dim=1)]
    return (factor * -(target * logits.log_softmax(dim=1)).sum(dim=1)).mean()


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("rebalanced", [False, True], ids=["plain", "rebalanced"])
def test_loss_and_gradient_equal_the_dense_formula(ab: Tensor, prior: str, k: int, rebalanced: bool) -> None:
    logits = torch.randn(4, COUNT, 16, 16, dtype=torch.float64, requires_grad=True)
    weight = rebalancing(read_prior(Path(prior))) if rebalanced else torch.ones(COUNT, dtype=torch.float64)
    expected = dense_loss(logits, ab[..., ::4, ::4], k, weight)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    objective = RebalancedClassification(prior, k=k) if rebalanced else Classification(k=k)
    single = logits.detach().float().requires_grad_()
    loss = objective(*given(single, ab))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (single.grad - expected_gradient).abs().max() < 1e-5 * expected_gradient.abs().max()


def test_the_loss_of_bf16_logits_is_computed_in_float32(ab: Tensor) -> None:
    half = (torch.randn(4, COUNT, 16, 16) * 4).bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    losses = [Classification()(*given(logits, ab)) for logits in (half, full)]
    for loss in losses:
        loss.backward()
    assert losses[0].dtype == torch.float32
    assert losses[0].item() == losses[1].item()
    assert half.grad.dtype == torch.bfloat16
    assert torch.equal(half.grad, full.grad.bfloat16())


def test_gray_pictures_do_not_count(ab: Tensor) -> None:
    logits = torch.randn(4, COUNT, 16, 16, requires_grad=True)
    some = ab.clone()
    some[2:] = some[2:].clamp(-4.9, 4.9)
    loss = Classification()(*given(logits, some))
    assert loss.item() == pytest.approx(Classification()(*given(logits[:2], ab[:2])).item(), rel=1e-5)
    loss.backward()
    assert logits.grad[2:].abs().max() == 0
    assert Classification()(*given(logits, torch.zeros_like(ab))).item() == 0


def test_the_target_is_every_fourth_pixel_or_the_mean_of_a_block(ab: Tensor) -> None:
    logits = torch.randn(4, COUNT, 16, 16)
    means = ab.unflatten(2, (16, 4)).unflatten(4, (16, 4)).mean(dim=(3, 5))
    even = torch.ones(COUNT, dtype=torch.float64)
    expected = dense_loss(logits.double(), means, 5, even).item()
    assert Classification(target="average")(*given(logits, ab)).item() == pytest.approx(expected, rel=1e-5)
    assert Classification()(*given(logits, ab)).item() != pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", ["pick", "average"])
def test_logits_of_the_padding_do_not_count(ab: Tensor, target: str) -> None:
    logits = torch.randn(4, COUNT, 16, 16)
    part, changed = ab[..., :50, :61], logits.clone()
    changed[:, :, 13:] = 9
    losses = [Classification(target=target)(*given(each, part)) for each in (logits, changed)]
    assert losses[0] == losses[1]
