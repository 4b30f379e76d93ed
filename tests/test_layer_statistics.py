"""What enters layers, against numpy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from condhpc import layer_statistics, models, rng
from condhpc.layer_statistics import Site


def entering(images: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Random activations."""
    values = rng.stream(0, "entering", images, channels, height, width).normal(
        2.0, 3.0, (images, channels, height, width)
    )
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("kind", ["norm", "conv"])
def test_channels(kind: str) -> None:
    """Mean and biased variance over the positions of each image."""
    values = entering(3, 5, 4, 6)
    mean_NC, var_NC = layer_statistics.of_images(kind, values)
    np.testing.assert_allclose(mean_NC, values.numpy().mean(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(var_NC, values.numpy().var(axis=(2, 3)), rtol=1e-5)


def test_places_of_a_multiple_of_16() -> None:
    """Place (i, j) holds all channels of rows i·h to (i+1)·h and columns j·w to (j+1)·w."""
    values = entering(2, 3, 32, 16)
    mean_NG, var_NG = layer_statistics.of_images("place", values)
    assert mean_NG.shape == (2, 256)
    for i, j in [(0, 0), (3, 7), (15, 15)]:
        cell = values.numpy()[:, :, 2 * i : 2 * i + 2, j : j + 1].reshape(2, -1)
        np.testing.assert_allclose(mean_NG[:, 16 * i + j], cell.mean(axis=1), rtol=1e-5)
        np.testing.assert_allclose(var_NG[:, 16 * i + j], cell.var(axis=1), rtol=1e-5)


def cells(entering_NCHW: torch.Tensor) -> torch.Tensor:
    """All that lies at each place (N, C, h, w, 256) of the enlarged image."""
    images, channels, *sides = entering_NCHW.shape
    height, width = (16 * -(-side // 16) for side in sides)
    enlarged = functional.interpolate(entering_NCHW, size=(height, width), mode="bilinear", align_corners=False)
    grid = enlarged.reshape(images, channels, 16, height // 16, 16, width // 16)
    return grid.permute(0, 1, 3, 5, 2, 4).flatten(4)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (7, 7), (14, 14), (16, 7), (17, 33), (56, 56), (1, 9)])
def test_places_against_enlarged_images(size: tuple[int, int]) -> None:
    """Moments and their gradients are those of images that torch has enlarged."""
    values = entering(2, 3, *size).double().float().requires_grad_()
    found = layer_statistics.of_images("place", values)
    expected = torch.var_mean(cells(values), dim=(1, 2, 3), unbiased=False)[::-1]
    probe = torch.from_numpy(rng.stream(0, "probe").normal(size=(2, 2, 256)).astype(np.float32))
    for one, other, weight in zip(found, expected, probe, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        gradients = [torch.autograd.grad((x * weight).sum(), values, retain_graph=True)[0] for x in (one, other)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_sites_of_networks() -> None:
    """Each batch norm is one site, each convolution two, in the order of the network; AlexNet has no norms."""
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
    expected = [Site("conv", "0"), Site("place", "0"), Site("norm", "1"), Site("conv", "3"), Site("place", "3")]
    assert layer_statistics.sites(small) == expected
    alexnet = layer_statistics.sites(models.build("alexnet", 10, 64, seed=0))
    assert {site.kind for site in alexnet} == {"conv", "place"}
    assert len(alexnet) == 10


def test_watched() -> None:
    """Each site is seen with what enters its layer, and no longer once it is over, also where the network raises."""
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).eval()
    seen: list[tuple[str, torch.Tensor]] = []
    values = entering(2, 3, 4, 4)
    with layer_statistics.watched(network, lambda site, x: seen.append((site.name, x))):
        network(values)
    assert [name for name, _ in seen] == ["norm 0", "conv 1", "place 1"]
    assert seen[0][1] is values
    torch.testing.assert_close(seen[1][1], network[0](values))
    with pytest.raises(RuntimeError), layer_statistics.watched(network, lambda *_: None):
        network(entering(1, 7, 4, 4))
    network(values)
    assert len(seen) == 3
