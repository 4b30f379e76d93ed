"""Class statistics in one pass against two passes over all activations."""

import numpy as np
import pytest
import torch
from test_layer_statistics import cells
from torch import nn

from condhpc import class_statistics, layer_statistics, rng
from condhpc.class_statistics import Spread
from condhpc.errors import CorruptArtefactError


class Small(nn.Module):
    """Two convolutions and a batch norm with statistics of its own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draw = rng.stream(seed, "small")
        self.conv = nn.Conv2d(3, 4, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 5, 1)
        with torch.no_grad():
            for tensor in [*self.parameters(), self.norm.running_mean, self.norm.running_var]:
                tensor.copy_(torch.from_numpy(draw.uniform(0.2, 1.0, tuple(tensor.shape)) * draw.choice([-1, 1])))
            self.norm.running_var.abs_()
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits (N, 5)."""
        return self.last(self.norm(self.conv(images_NCHW))).mean(dim=(2, 3))


def images_of(label: int, count: int) -> torch.Tensor:
    """Images whose brightness differs much from one to the next."""
    draw = rng.stream(1, "images", label)
    values = draw.normal(draw.normal(label, 2.0, (count, 3, 1, 1)), 1.0, (count, 3, 32, 32))
    return torch.from_numpy(values.astype(np.float32))


def activations(network: nn.Module, images_NCHW: torch.Tensor) -> dict[str, np.ndarray]:
    """Of each site (…, G), all that one statistic is taken of along the first axis; float64."""
    found = {}

    def see(site: layer_statistics.Site, x: torch.Tensor) -> None:
        parts = cells(x) if site.kind == "place" else x.permute(0, 2, 3, 1)
        found[site.name] = parts.reshape(-1, parts.shape[-1]).double().numpy()

    with layer_statistics.watched(network, see):
        network(images_NCHW)
    return found


COUNTS = (7, 4, 1)
NETWORKS = [Small(0), Small(1)]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Of two networks and three classes, from batches of different sizes."""
    classes = [
        class_statistics.of_class(NETWORKS, torch.split(images_of(label, count), 3))[0]
        for label, count in enumerate(COUNTS)
    ]
    return class_statistics.arrays_of(NETWORKS, classes)


@pytest.mark.parametrize("member", [0, 1])
def test_classes_against_two_passes(arrays: dict[str, np.ndarray], member: int) -> None:
    """Mean and variance of each class are those over all its activations, differences between images included."""
    network = NETWORKS[member]
    for label, count in enumerate(COUNTS):
        found = class_statistics.known(arrays, member, network, [label], "paper").of_classes
        all_NG = list(activations(network, images_of(label, count)).values())
        np.testing.assert_allclose(found.mean_US[0], np.concatenate([x.mean(axis=0) for x in all_NG]), atol=1e-4)
        expected_S = np.concatenate([((x - x.mean(axis=0)) ** 2).mean(axis=0) for x in all_NG])
        np.testing.assert_allclose(found.var_US[0], expected_S, rtol=1e-4)


def test_all_images(arrays: dict[str, np.ndarray]) -> None:
    """What enters convolutions is that of all images; batch norms tell what they run with."""
    network = NETWORKS[0]
    together = torch.cat([images_of(label, count) for label, count in enumerate(COUNTS)])
    found = class_statistics.known(arrays, 0, network, [0], "paper")
    parts = zip(
        layer_statistics.sites(network),
        torch.split(found.overall.mean_US[0], found.sizes_L),
        torch.split(found.overall.var_US[0], found.sizes_L),
        strict=True,
    )
    expected = activations(network, together)
    for site, mean_G, var_G in parts:
        if site.kind == "norm":
            torch.testing.assert_close(mean_G, network.norm.running_mean)
            torch.testing.assert_close(var_G, network.norm.running_var)
        else:
            np.testing.assert_allclose(mean_G, expected[site.name].mean(axis=0), atol=1e-4)
            np.testing.assert_allclose(var_G, expected[site.name].var(axis=0), rtol=1e-4)


def test_batch_of_several_classes(arrays: dict[str, np.ndarray]) -> None:
    """Its target is the mean of the classes' statistics, each as often as it has images."""
    one, two, both = (
        class_statistics.known(arrays, 0, NETWORKS[0], labels, "paper").of_classes for labels in ([0], [2], [0, 2, 2])
    )
    for alone, other, found in zip(one, two, both, strict=True):
        torch.testing.assert_close(found, (alone + 2 * other) / 3)


def test_as_the_code_has_it(arrays: dict[str, np.ndarray]) -> None:
    """Variance is the mean of each image's own, and mean and variance of places are swapped; all else stays."""
    network, images_NCHW = NETWORKS[0], images_of(0, COUNTS[0])
    found = class_statistics.known(arrays, 0, network, [0], "code")
    paper = class_statistics.known(arrays, 0, network, [0], "paper")
    torch.testing.assert_close(found.overall, paper.overall)
    alone = [activations(network, image[None]) for image in images_NCHW]
    parts = zip(
        layer_statistics.sites(network),
        torch.split(found.of_classes.mean_US[0], found.sizes_L),
        torch.split(found.of_classes.var_US[0], found.sizes_L),
        strict=True,
    )
    for site, mean_G, var_G in parts:
        expected = [np.mean([x[site.name].mean(axis=0) for x in alone], axis=0)]
        expected.append(np.mean([x[site.name].var(axis=0) for x in alone], axis=0))
        first, second = expected[::-1] if site.kind == "place" else expected
        np.testing.assert_allclose(mean_G, first, atol=1e-4)
        np.testing.assert_allclose(var_G, second, atol=1e-4, rtol=1e-4)


def test_merging_is_sound_far_from_zero() -> None:
    """Small differences around a large mean survive, one image at a time, where sums of squares would lose them all."""
    values = 1e6 + rng.stream(0, "far").normal(size=(500, 4))
    merged: Spread | None = None
    for row in torch.from_numpy(values):
        alone = class_statistics.spread_of(row[None], torch.full((1, 4), 0.5, dtype=torch.float64))
        merged = alone if merged is None else merged.merged(alone)
    assert merged is not None
    assert merged.images == 500
    np.testing.assert_allclose(merged.mean_G, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(merged.between_G, values.var(axis=0), rtol=1e-8)
    np.testing.assert_allclose(merged.within_G, 0.5)


def test_logits_are_means_over_networks() -> None:
    """Of each image in order, however it is batched."""
    images_NCHW = images_of(0, 5)
    _, logits_NK = class_statistics.of_class(NETWORKS, torch.split(images_NCHW, 2))
    torch.testing.assert_close(logits_NK, (NETWORKS[0](images_NCHW) + NETWORKS[1](images_NCHW)) / 2)


def test_statistics_of_other_networks(arrays: dict[str, np.ndarray]) -> None:
    """A layer that the file does not know is named."""
    with pytest.raises(CorruptArtefactError, match="no array '0 conv 0 mean'"):
        class_statistics.known(arrays, 0, nn.Sequential(nn.Conv2d(3, 4, 1)), [0], "paper")
