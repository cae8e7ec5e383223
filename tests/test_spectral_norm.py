"""Convolutions with spectral norm, beside torch's and beside singular values computed exactly."""

import copy
import pickle

import torch
from torch import nn

from colorlab.spectral_norm import SpectralConv2d


def test_a_spectral_convolution_learns_as_torchs() -> None:
    ours = SpectralConv2d(3, 5, 4, 2, 1)
    theirs = torch.nn.utils.spectral_norm(nn.Conv2d(3, 5, 4, 2, 1))
    theirs.load_state_dict(ours.state_dict())
    steps = [(each, torch.optim.SGD(each.parameters(), 0.1)) for each in (ours, theirs)]
    for _ in range(3):
        picture = torch.randn(2, 3, 6, 7)
        for convolution, optimizer in steps:
            optimizer.zero_grad()
            convolution(picture).pow(2).mean().backward()
            optimizer.step()
    for convolution, _ in steps:
        convolution.eval()
    assert torch.allclose(ours(picture), theirs(picture), atol=1e-6)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-6), name
    largest = torch.linalg.svdvals(ours.weight().flatten(1).detach()).max()
    assert 1 <= largest < 1.1


def test_the_weight_and_its_gradient_are_those_of_the_largest_singular_value() -> None:
    layer = SpectralConv2d(6, 5, 3, padding=1).train()
    picture = torch.rand(2, 6, 8, 8)
    for _ in range(50):
        result = layer(picture)
    exact = layer.weight_orig.detach().double().requires_grad_()
    weight = exact / torch.linalg.matrix_norm(exact.flatten(1), ord=2)
    expected = nn.functional.conv2d(picture, weight.float(), layer.bias, padding=1)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    weight.square().sin().sum().backward()
    layer.weight().square().sin().sum().backward()
    torch.testing.assert_close(layer.weight_orig.grad, exact.grad.float(), rtol=1e-3, atol=1e-4)


def test_the_singular_value_is_estimated_in_training_only_and_in_float32() -> None:
    layer, picture = SpectralConv2d(6, 5, 3), torch.rand(2, 6, 8, 8)
    before = layer.weight_v.clone()
    layer.eval()(picture)
    assert torch.equal(layer.weight_v, before)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.train()(picture).dtype == torch.bfloat16
    assert not torch.equal(layer.weight_v, before)
    assert layer.weight_v.dtype == torch.float32


def test_a_convolution_can_be_copied_and_pickled_after_a_step() -> None:
    layer = SpectralConv2d(3, 4, 3)
    layer(torch.rand(1, 3, 8, 8)).sum().backward()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other.state_dict(), layer.state_dict(), rtol=0, atol=0)
