"""EDC's statistics term against its definition, written out with numpy and with plain autograd."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from test_class_statistics import Small, activations, images_of
from test_layer_statistics import cells
from torch import nn

from condhpc import class_statistics, layer_statistics
from condhpc.bn_statistics import Batch
from condhpc.class_matching import ClassTerm
from condhpc.class_statistics import Known
from condhpc.pixels import Fidelity

UNITS = ((0, 0, 1), (2, 1))
"""Labels of the images of two units."""


@pytest.fixture(scope="module")
def network() -> Small:
    """The backbone."""
    return Small(3)


@pytest.fixture(scope="module")
def arrays(network: Small) -> dict[str, np.ndarray]:
    """What it knows of three classes."""
    classes = [class_statistics.of_class([network], [images_of(label, 4)])[0] for label in range(3)]
    return class_statistics.arrays_of([network], classes)


def known(arrays: dict[str, np.ndarray], network: nn.Module, fidelity: Fidelity = "paper") -> list[Known]:
    """Of both units."""
    return [class_statistics.known(arrays, 0, network, labels, fidelity) for labels in UNITS]


def batch_of(units: Sequence[Sequence[int]]) -> Batch:
    """The images of some units."""
    unit_N = torch.tensor([u for u, labels in enumerate(units) for _ in labels])
    member_UN = (torch.arange(len(units))[:, None] == unit_N).float()
    return Batch(
        torch.tensor([y for labels in units for y in labels]), unit_N, member_UN / member_UN.sum(1, keepdim=True)
    )


def term_of(network: nn.Module, of_units: list[Known], alpha: float, fidelity: Fidelity = "paper") -> ClassTerm:
    """With ten times the weight on first layers."""
    return ClassTerm(network, of_units, alpha=alpha, first_weight=10.0, fidelity=fidelity, device="cpu")


def steps_images(step: int) -> torch.Tensor:
    """The five images of both units at a step."""
    return images_of(10 + step, 5)


def losses_at(term: ClassTerm, network: nn.Module, images_NCHW: torch.Tensor) -> torch.Tensor:
    """As the engine asks for them; hooks go, averages stay."""
    term.begin(batch_of(UNITS))
    network(images_NCHW)
    losses_U = term.losses()
    term.end()
    return losses_U


def statistics_of(network: nn.Module, images_NCHW: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each site over some images."""
    return [(x.mean(axis=0), x.var(axis=0)) for x in activations(network, images_NCHW).values()]


def loss_by_definition(network: nn.Module, found: list[tuple[np.ndarray, np.ndarray]], target: Known) -> float:
    """Site by site, from the statistics of one unit."""
    total, seen, first = 0.0, set(), 0
    for site, (mean_G, var_G) in zip(layer_statistics.sites(network), found, strict=True):
        weight = 1.0 if site.kind in seen else 10.0
        seen.add(site.kind)
        part = slice(first, first + len(mean_G))
        for of in (target.overall, target.of_classes):
            gap_mean_G, gap_var_G = mean_G - of.mean_US[0, part].numpy(), var_G - of.var_US[0, part].numpy()
            total += weight * 0.5 * (np.sqrt((gap_mean_G**2).sum()) + np.sqrt((gap_var_G**2).sum()))
        first += len(mean_G)
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("fidelity", ["paper", "code"])
def test_losses_against_the_definition(
    network: Small, arrays: dict[str, np.ndarray], alpha: float, fidelity: Fidelity
) -> None:
    """Of each unit alone, over steps: averages start with the first statistics, or with zero as in the code."""
    targets = known(arrays, network, fidelity)
    term = term_of(network, targets, alpha, fidelity)
    parts = (slice(0, 3), slice(3, 5))
    averages: list[list[tuple[np.ndarray, np.ndarray]] | None] = [None, None]
    for step in range(3):
        images_NCHW = steps_images(step)
        expected = []
        for unit, part in enumerate(parts):
            current, held = statistics_of(network, images_NCHW[part]), averages[unit]
            if held is None and fidelity == "code":
                held = [(0 * mean_G, 0 * var_G) for mean_G, var_G in current]
            if held is not None:
                current = [
                    (alpha * old[0] + (1 - alpha) * new[0], alpha * old[1] + (1 - alpha) * new[1])
                    for old, new in zip(held, current, strict=True)
                ]
            averages[unit] = current
            expected.append(loss_by_definition(network, current, targets[unit]))
        np.testing.assert_allclose(losses_at(term, network, images_NCHW), expected, rtol=1e-4)


def plain_moments(network: nn.Module, images_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """Mean and variance (2, G) of each site over some images by torch's own, in the graph."""
    found: list[torch.Tensor] = []

    def see(site: layer_statistics.Site, x: torch.Tensor) -> None:
        x = cells(x) if site.kind == "place" else x.movedim(1, -1)
        variance_G, mean_G = torch.var_mean(x.reshape(-1, x.shape[-1]), dim=0, unbiased=False)
        found.append(torch.stack([mean_G, variance_G]))

    with layer_statistics.watched(network, see):
        network(images_NCHW)
    return found


def plain_loss(found: list[torch.Tensor], target: Known) -> torch.Tensor:
    """Of one unit; all layers but the last are the first of their kind."""
    total = torch.zeros(())
    for of in (target.overall, target.of_classes):
        targets = torch.split(torch.cat([of.mean_US, of.var_US]), target.sizes_L, dim=1)
        for place, (moments_2G, target_2G) in enumerate(zip(found, targets, strict=True)):
            total = total + (5.0 if place < 3 else 0.5) * (moments_2G - target_2G).norm(dim=1).sum()
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_gradient_against_autograd(network: Small, arrays: dict[str, np.ndarray], alpha: float) -> None:
    """Each unit's gradient is that of the unit alone; an average moves what is matched, and is no part of it."""
    targets, images_NCHW = known(arrays, network), steps_images(1).requires_grad_()
    term = term_of(network, targets, alpha)
    losses_at(term, network, steps_images(0))
    (found,) = torch.autograd.grad(losses_at(term, network, images_NCHW).sum(), images_NCHW)
    for part, target in zip((slice(0, 3), slice(3, 5)), targets, strict=True):
        alone = images_NCHW.detach()[part].requires_grad_()
        before, current = plain_moments(network, steps_images(0)[part]), plain_moments(network, alone)
        smooth = [new + alpha * (old - new.detach()) for old, new in zip(before, current, strict=True)]
        (expected,) = torch.autograd.grad(plain_loss(smooth, target), alone)
        torch.testing.assert_close(found[part], expected, rtol=2e-3, atol=1e-5)


def test_state_goes_on_to_the_same_bits(network: Small, arrays: dict[str, np.ndarray]) -> None:
    """A term that takes a state over gives the losses that the first would have given."""
    targets = known(arrays, network)
    first, second, fresh = (term_of(network, targets, 0.8) for _ in range(3))
    losses_at(first, network, steps_images(0))
    second.restore({name: values.clone() for name, values in first.state().items()})
    expected = losses_at(first, network, steps_images(1))
    assert torch.equal(losses_at(second, network, steps_images(1)), expected)
    fresh.restore({})
    assert not torch.equal(losses_at(fresh, network, steps_images(1)), expected)


def test_leaves_the_backbone_as_it_was(network: Small, arrays: dict[str, np.ndarray]) -> None:
    """No hooks before the first step and after the end; none change what the network computes."""
    term = term_of(network, known(arrays, network), 0.8)
    images_NCHW = steps_images(0)
    plain = network(images_NCHW)
    term.begin(batch_of(UNITS))
    assert torch.equal(network(images_NCHW), plain)
    term.end()
    assert not any(module._forward_pre_hooks for module in network.modules())
