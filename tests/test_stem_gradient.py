"""Gradients through strided first convolutions."""

from __future__ import annotations

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
    layer = nn.Conv2d(3, 5, kernel, stride=stride, padding=padding).double()
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
    stem_gradient.install(nn.Sequential(nn.Linear(2, 2)))
