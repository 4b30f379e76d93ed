"""Gradients through strided first convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from condhpc import stem_gradient


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(7, 2, 3, 32), (3, 2, 1, 17), (11, 4, 2, 63), (4, 4, 0, 19), (3, 3, 0, 11), (5, 2, 0, 10), (2, 3, 0, 12)],
)
def test_it_is_the_gradient(kernel: int, stride: int, padding: int, side: int) -> None:
    """Output and gradient are those of torch's own convolution, also where some pixels are never looked at."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, kernel, stride=stride, padding=padding).double().requires_grad_(requires_grad=False)
    images_NCHW = torch.randn(2, 3, side, side + 3, dtype=torch.float64, requires_grad=True)
    expected = layer(images_NCHW)
    weights = torch.randn_like(expected)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), images_NCHW)
    stem_gradient.install(nn.Sequential(layer))
    found = layer(images_NCHW)
    assert "partial" in type(layer.forward).__name__
    (found_gradient,) = torch.autograd.grad((found * weights).sum(), images_NCHW)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_gradient, expected_gradient)


def pair() -> tuple[nn.Sequential, nn.Conv2d]:
    """A frozen network with the gradient, and its first convolution as torch has it."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 7, stride=2, padding=3).double().requires_grad_(requires_grad=False)
    plain = copy.deepcopy(layer)
    network = nn.Sequential(layer)
    stem_gradient.install(network)
    return network, plain


def both(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and gradient of the sum of its squares."""
    images_NCHW = torch.linspace(-1, 1, 2 * 3 * 12 * 12, dtype=torch.float64).reshape(2, 3, 12, 12).requires_grad_()
    found = network(images_NCHW)
    (gradient,) = torch.autograd.grad(found.square().sum(), images_NCHW)
    return found.detach(), gradient


def test_changed_weights_count_at_once() -> None:
    """In place, loaded, or put in the place of the old ones, after the gradient has been used."""
    network, plain = pair()
    before = both(network)[1]
    for change in ("in place", "loaded", "exchanged"):
        weight = torch.randn_like(plain.weight)
        plain.weight.copy_(weight)
        if change == "in place":
            network[0].weight.copy_(weight)
        elif change == "loaded":
            network.load_state_dict({"0.weight": weight, "0.bias": plain.bias})
        else:
            network[0].weight = nn.Parameter(weight, requires_grad=False)
        torch.testing.assert_close(both(network), both(plain))
        assert not torch.allclose(both(network)[1], before)


def test_a_copy_has_its_own_weights() -> None:
    """A copied network and the one it is of may change apart."""
    network, plain = pair()
    copied = copy.deepcopy(network)
    network[0].weight.zero_()
    torch.testing.assert_close(both(copied), both(plain))
    copied[0].weight.mul_(2.0)
    plain.weight.mul_(2.0)
    torch.testing.assert_close(both(copied), both(plain))
    assert not both(network)[1].any()


def test_weights_that_learn_get_their_gradient() -> None:
    """Then torch's own convolution counts."""
    network, plain = pair()
    for one in (network, plain):
        one.requires_grad_()
        one(torch.ones(1, 3, 12, 12, dtype=torch.float64)).square().sum().backward()
    assert plain.weight.grad is not None
    torch.testing.assert_close(network[0].weight.grad, plain.weight.grad)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(16, 4, 3, stride=2),
        nn.Conv2d(3, 3, 3, stride=2, groups=3),
        nn.Conv2d(3, 4, 3, stride=2, dilation=2),
        nn.Conv2d(3, 4, (3, 5), stride=2),
        nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode="reflect"),
    ],
    ids=["no stride", "many channels", "groups", "dilation", "not square", "reflected"],
)
def test_others_stay_as_they_are(layer: nn.Conv2d) -> None:
    """A first convolution that is of another kind keeps torch's gradient."""
    before = layer.forward
    stem_gradient.install(nn.Sequential(layer, nn.Conv2d(4, 4, 3, stride=2)))
    assert layer.forward == before


def test_a_network_without_convolutions_is_no_error() -> None:
    """Then there is nothing to do."""
    network = nn.Sequential(nn.Linear(2, 2))
    before = network[0].forward
    stem_gradient.install(network)
    assert network[0].forward == before
