"""The adversarial objective: its critic, its losses, and a training of it that is resumed."""

import copy
import pickle

import pytest
import torch
from torch import nn

from colorlab.color import lab_to_rgb
from colorlab.data.batch import Batch
from colorlab.errors import UserError
from colorlab.objectives import Adversarial, Prediction
from colorlab.objectives.adversarial import Critic, SelfAttention
from colorlab.objectives.pictures import true_picture
from colorlab.spectral_norm import SpectralConv2d


def narrow(**arguments: object) -> Adversarial:
    """Return the objective with a critic that takes pictures from 16×16."""
    return Adversarial(**{"width": 4, "blocks": 1} | arguments)


def batch_of(size: int = 16) -> Batch:
    return Batch(torch.rand(2, 1, size, size) * 100, torch.rand(2, 2, size, size) * 60 - 30, torch.arange(2))


# -- the critic --------------------------------------------------------------------------------------


def test_the_released_critic_has_these_layers() -> None:
    """DDColor's: from 3 channels to 64 … 512, with biases except in the last layer and in the attention."""
    critic = Critic()
    layers = [layer for layer in critic.layers if isinstance(layer, SpectralConv2d)]
    shapes = [(*layer.weight_orig.shape, layer.stride, layer.padding, layer.bias is not None) for layer in layers]
    assert shapes == [
        (64, 3, 4, 4, 2, 1, True),
        (64, 64, 3, 3, 1, 1, True), (128, 64, 4, 4, 2, 1, True),
        (128, 128, 3, 3, 1, 1, True), (256, 128, 4, 4, 2, 1, True),
        (256, 256, 3, 3, 1, 1, True), (512, 256, 4, 4, 2, 1, True),
        (512, 512, 3, 3, 1, 1, True), (1, 512, 4, 4, 1, 0, False),
    ]  # fmt: skip
    assert [type(layer) for layer in critic.layers].index(SelfAttention) == 6
    assert critic(torch.rand(1, 3, 96, 64)).shape == (1, 1, 3, 1)


def test_the_attention_equals_its_formula() -> None:
    attention = SelfAttention(16).eval()
    features = torch.randn(2, 16, 3, 5)
    assert torch.equal(attention(features), features), "its factor begins at 0"
    attention.factor.data.fill_(0.7)
    query, key, value = (layer(features).flatten(2) for layer in (attention.query, attention.key, attention.value))
    share = torch.einsum("bci,bcj->bij", key, query).softmax(dim=1)
    expected = features + 0.7 * torch.einsum("bci,bij->bcj", value, share).reshape(features.shape)
    torch.testing.assert_close(attention(features), expected)


def test_the_objective_can_be_copied_and_pickled_after_a_step() -> None:
    objective, batch = narrow(), batch_of()
    objective.learn(Prediction(batch.ab / 2), batch).backward()
    for other in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        torch.testing.assert_close(other.critic.state_dict(), objective.critic.state_dict(), rtol=0, atol=0)


# -- the losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["vanilla", "hinge"])
def test_losses_equal_their_formulas_on_rgb(loss: str) -> None:
    objective, batch = narrow(loss=loss, target_color=1.2).eval(), batch_of()
    prediction = Prediction(torch.rand(2, 2, 16, 16) * 60)
    true = objective.critic(true_picture(batch, 1.2)).double().flatten()
    fake = objective.critic(lab_to_rgb(batch.L, prediction.ab)).double().flatten()
    ones = torch.ones_like(true)
    if loss == "vanilla":
        entropy = nn.BCEWithLogitsLoss()
        own, fool = entropy(true, ones) + entropy(fake, 0 * ones), entropy(fake, ones)
    else:
        own, fool = (1 - true).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(), -fake.mean()
    assert objective.learn(prediction, batch).item() == pytest.approx(own.item(), rel=1e-5)
    assert objective(prediction, batch).item() == pytest.approx(fool.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["vanilla", "hinge"])
def test_the_critic_learns_to_tell_gray_pictures_from_photographs(ab: torch.Tensor, loss: str) -> None:
    objective, batch = narrow(loss=loss, lr=3e-3, width=8), Batch(torch.full_like(ab[:, :1], 60), ab, torch.arange(4))
    optimizer = objective.configure_optimizer()
    gray = Prediction(torch.zeros_like(ab))
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(objective.learn(gray, batch))
        losses[-1].backward()
        assert all(weight.grad is not None for weight in objective.critic.parameters())
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert objective(gray, batch) > objective(Prediction(ab), batch)


def test_its_optimizer_is_that_of_the_released_recipe() -> None:
    optimizer = Adversarial(width=4).configure_optimizer()
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.Adam)
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.99), 0)


# -- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"lr": 0.0}, "an lr=0 above 0"), ({"betas": (0.9, 1.0)}, r"betas=\[0.9, 1.0\]"), ({"width": 3}, "width=3"),
     ({"blocks": 0}, "blocks=0"), ({"target_color": -1.0}, "target_color=-1")],
)  # fmt: skip
def test_invalid_arguments_are_refused(arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Adversarial(**arguments)


def test_pictures_that_are_too_small_are_refused() -> None:
    objective = Adversarial(width=4)
    assert objective(Prediction(torch.zeros(2, 2, 64, 64)), batch_of(64)).isfinite()
    with pytest.raises(UserError, match="at least 64×64, not 63×63"):
        objective(Prediction(torch.zeros(2, 2, 63, 63)), batch_of(63))
