"""The classification objectives against the dense formula of the paper."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from colorlab.bins import CENTERS, COUNT, rebalancing
from colorlab.data.batch import split_lab
from colorlab.data.color_histogram import read_prior, write_prior
from colorlab.data.photographs import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.images.decoding import read_photograph
from colorlab.objectives import Classification, RebalancedClassification


@pytest.fixture(scope="module")
def ab() -> Tensor:
    """Four real photographs at 64²."""
    names = find_photographs(SAMPLES)[7::50][:4]
    crops = [read_photograph(SAMPLES / name)[None, :, 60:124, 60:124] for name in names]
    return split_lab(torch.cat(crops), torch.arange(4)).ab


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory, ab: Tensor) -> str:
    place = (ab.round().long() + 128).unbind(dim=1)
    histogram = torch.bincount((place[0] * 256 + place[1]).flatten(), minlength=65536).reshape(256, 256)
    path = tmp_path_factory.mktemp("prior") / "prior.npz"
    write_prior(path, histogram)
    return str(path)


def dense_target(ab: Tensor, k: int) -> Tensor:
    """By the paper's words, in float64: [B, 313, h, w]."""
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
def test_loss_and_gradient_equal_the_dense_formulas(ab: Tensor, prior: str, k: int, rebalanced: bool) -> None:
    logits = torch.randn(4, COUNT, 16, 16, dtype=torch.float64, requires_grad=True)
    weight = rebalancing(read_prior(Path(prior))) if rebalanced else torch.ones(COUNT, dtype=torch.float64)
    expected = dense_loss(logits, ab[..., ::4, ::4], k, weight)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    objective = RebalancedClassification(prior, k=k) if rebalanced else Classification(k=k)
    single = logits.detach().float().requires_grad_()
    loss = objective(single, ab)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (single.grad - expected_gradient).abs().max() < 1e-5 * expected_gradient.abs().max()


def test_bf16_logits_are_judged_in_float32(ab: Tensor) -> None:
    half = (torch.randn(4, COUNT, 16, 16) * 4).bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    losses = [Classification()(logits, ab) for logits in (half, full)]
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
    loss = Classification()(logits, some)
    assert loss.item() == pytest.approx(Classification()(logits[:2], ab[:2]).item(), rel=1e-5)
    loss.backward()
    assert logits.grad[2:].abs().max() == 0
    assert Classification()(logits, torch.zeros_like(ab)).item() == 0


def test_the_target_is_every_fourth_pixel_or_the_mean_of_a_block(ab: Tensor) -> None:
    logits = torch.randn(4, COUNT, 16, 16)
    means = ab.unflatten(2, (16, 4)).unflatten(4, (16, 4)).mean(dim=(3, 5))
    even = torch.ones(COUNT, dtype=torch.float64)
    expected = dense_loss(logits.double(), means, 5, even).item()
    assert Classification(target="average")(logits, ab).item() == pytest.approx(expected, rel=1e-5)
    assert Classification()(logits, ab).item() != pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", ["pick", "average"])
def test_logits_of_a_padded_picture_are_judged_where_the_picture_is(ab: Tensor, target: str) -> None:
    logits = torch.randn(4, COUNT, 16, 16)
    part, changed = ab[..., :50, :61], logits.clone()
    changed[:, :, 13:] = 9
    assert Classification(target=target)(logits, part) == Classification(target=target)(changed, part)


def test_gradient_steps_lower_the_loss(ab: Tensor, prior: str) -> None:
    logits = torch.zeros(4, COUNT, 16, 16, requires_grad=True)
    objective, optimizer, losses = RebalancedClassification(prior), torch.optim.Adam([logits], 0.1), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(objective(logits, ab))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_the_weights_of_the_colors_are_no_part_of_a_checkpoint(prior: str) -> None:
    assert RebalancedClassification(prior).state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"prior": None}, "objective.prior is missing"), ({"prior": "/nowhere"}, "There is no prior at /nowhere"),
     ({"uniform": 1.5}, "objective.uniform=1.5"), ({"k": 0}, "objective.k=0")],
)  # fmt: skip
def test_mistakes_get_a_sentence(prior: str, arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RebalancedClassification(**{"prior": prior, **arguments})
