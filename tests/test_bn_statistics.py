"""Statistics of activations per unit, their gradient, and the batch-norm term."""

import copy
from typing import Any

import numpy as np
import pytest
import recovery_work as rw
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from condhpc import bn_statistics, models
from condhpc.bn_statistics import Affine, Batch, BatchNormTerm, normed

UNIT_N = [0, 0, 1, 2, 2, 2]
SHARE_UN = torch.tensor([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3]])

MEAN, SCALE = torch.tensor([0.0, 1.0, -49.0, 0.0]), torch.tensor([1.0, 0.5, 2.0, -1.0])
OFFSET = torch.tensor([0.0, 1.0, -1.0, 0.5])


def activations(dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.channels_last) -> torch.Tensor:
    """Six images of four channels, far from zero in one of them."""
    draw = torch.Generator().manual_seed(1)
    offsets = torch.tensor([0.0, 3.0, -50.0, 0.2]).view(1, 4, 1, 1)
    found = torch.randn(6, 4, 5, 3, generator=draw, dtype=torch.float64) + offsets
    return found.to(dtype).contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_moments_are_those_of_each_unit(layout: torch.memory_format) -> None:
    """Mean and biased variance over a unit's images and places, as NumPy has them in double precision."""
    images = activations(layout=layout)
    found, moments = normed(images, Affine(MEAN, SCALE, OFFSET), SHARE_UN)
    expected = (images - MEAN.view(4, 1, 1)) * SCALE.view(4, 1, 1) + OFFSET.view(4, 1, 1)
    torch.testing.assert_close(found, expected)
    exact = images.double().numpy()
    for unit in range(3):
        own = exact[np.array(UNIT_N) == unit]
        np.testing.assert_allclose(moments.mean_US[unit], own.mean(axis=(0, 2, 3)), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(moments.var_US[unit], own.var(axis=(0, 2, 3)), rtol=1e-5)


def test_gradient_of_moments_agrees_with_finite_differences() -> None:
    """The norm and both moments, in double precision."""
    images = activations(torch.float64).requires_grad_()

    def outputs(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found, moments = normed(x, Affine(MEAN.double(), SCALE.double(), OFFSET.double()), SHARE_UN.double())
        return found, moments.mean_US, moments.var_US

    assert torch.autograd.gradcheck(outputs, (images,))


def test_half_precision_passes_through() -> None:
    """bfloat16 activations stay so, while their moments are sums in single precision."""
    images = activations(torch.bfloat16).requires_grad_()
    found, moments = normed(images, Affine(torch.zeros(4), SCALE, OFFSET), SHARE_UN)
    (gradient,) = torch.autograd.grad(found.float().sum() + moments.var_US.sum(), images)
    assert (found.dtype, moments.var_US.dtype, gradient.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    own = images.detach().double().numpy()[:2]
    np.testing.assert_allclose(moments.mean_US[0].detach(), own.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-5)


def batch(labels: list[int]) -> Batch:
    """Of the units above."""
    return Batch(torch.tensor(labels), torch.tensor(UNIT_N), SHARE_UN)


def by_definition(model: nn.Module, images: torch.Tensor, first_weight: float) -> torch.Tensor:
    """Σ_l w_l (‖σ² − σ̂²‖ + ‖μ − μ̂‖) of one unit, with hooks and torch's own statistics."""
    distances: list[torch.Tensor] = []

    def note(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].double()
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
        distances.append((norm.running_var - variance).norm() + (norm.running_mean - mean).norm())

    handles = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model(images)
    for handle in handles:
        handle.remove()
    return first_weight * distances[0] + torch.stack(distances[1:]).sum()


@pytest.mark.parametrize("arch", ["convnet3", "resnet18", "shufflenet_v2_x0_5", "densenet121"])
def test_term_is_the_papers_sum(arch: str) -> None:
    """Per unit, the first layer ten times, whatever the order in which layers run."""
    model = models.frozen(models.build(arch, 3, 16, 0))
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([by_definition(model, images[np.array(UNIT_N) == unit], 10.0) for unit in range(3)])
    plain = model(images)
    term = BatchNormTerm(model, 10.0)
    term.begin(batch([0] * 6))
    logits = model(images)
    torch.testing.assert_close(term.losses().double(), expected.double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, plain)


def test_gradient_of_the_term_agrees_with_finite_differences() -> None:
    """Through a whole network in double precision."""
    model = rw.network().double()
    term = BatchNormTerm(model, 10.0)
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = batch([0] * 6)._replace(share_UN=SHARE_UN.double())

    def loss(x: torch.Tensor) -> torch.Tensor:
        term.begin(shares)
        model(x)
        return term.losses()

    images.requires_grad_()
    for unit in range(3):
        (gradient,) = torch.autograd.grad(loss(images)[unit], images)
        assert not gradient[np.array(UNIT_N) != unit].any()
        for place in [(np.array(UNIT_N).tolist().index(unit), c, 3, 4) for c in range(3)]:
            ends = []
            for step in (1e-5, -1e-5):
                moved = images.detach().clone()
                moved[place] += step
                ends.append(float(loss(moved)[unit].detach()))
            assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_a_statistic_that_is_met_pulls_at_nothing() -> None:
    """A distance of exactly zero has the gradient zero, not NaN."""
    found = torch.ones(1, 3, requires_grad=True)
    layers = bn_statistics.layer_matrix([3], found)
    target = bn_statistics.Moments(torch.ones(1, 3), torch.ones(1, 3))
    bn_statistics.distances(bn_statistics.Moments(found, found), target, layers).sum().backward()
    assert found.grad is not None
    assert not found.grad.any()


def test_a_backbone_is_itself_again() -> None:
    """After a recovery hooks do nothing, and a second term of a backbone is the first."""
    model = rw.network()
    images = torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model)(images)
    term = bn_statistics.batch_norm_term(model, 10.0)
    assert term is not None
    assert bn_statistics.batch_norm_term(model, 10.0) is term
    term.begin(Batch(torch.zeros(2), torch.zeros(2), torch.full((1, 2), 0.5)))
    model(images)
    term.end()
    torch.testing.assert_close(model(images), before)


@pytest.mark.parametrize("copied", [False, True])
def test_norms_that_change_count_at_once(copied: bool) -> None:  # noqa: FBT001
    """Weights, offsets and statistics of a backbone, or of a copy of it, after its term has been used."""
    model = models.frozen(models.build("convnet3", 3, 16, 0))
    term, images = BatchNormTerm(model, 10.0), torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    term.begin(batch([0] * 6))
    model(images)
    before = term.losses()
    term.end()
    if copied:
        model = copy.deepcopy(model)
        term = BatchNormTerm(model, 10.0)
    norm = bn_statistics.batch_norms(model)[0]
    for values, change in ((norm.weight, 2.0), (norm.bias, 0.5), (norm.running_mean, 0.3), (norm.running_var, 0.7)):
        assert values is not None
        values.add_(change)
    plain, expected = model(images), by_definition(model, images[:2], 10.0)
    term.begin(batch([0] * 6))
    torch.testing.assert_close(model(images), plain)
    found = term.losses()
    torch.testing.assert_close(found[0].double(), expected.double(), rtol=1e-4, atol=1e-4)
    assert abs(float(found[0] - before[0])) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_in_parts_are_images_at_once(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CPU computes image by image is what it computes of all."""
    images, affine = activations(dtype), Affine(MEAN, SCALE, OFFSET)
    whole, moments = normed(images, affine, SHARE_UN)
    monkeypatch.setattr(bn_statistics, "_CACHED", 2 * images[0].numel())
    found, in_parts = normed(images, affine, SHARE_UN)
    assert found.dtype == dtype
    torch.testing.assert_close(found, whole, rtol=0, atol=0)
    torch.testing.assert_close(tuple(in_parts), tuple(moments), rtol=0, atol=0)


def test_a_compiler_sees_all_images_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would write each part out; what it makes of the whole is the same."""
    images, affine = activations(), Affine(MEAN, SCALE, OFFSET)
    monkeypatch.setattr(bn_statistics, "_CACHED", images[0].numel())
    sizes: list[int] = []

    def counted(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        sizes.append(sum(node.op == "call_function" for node in graph.graph.nodes))
        return graph.forward

    def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found, moments = normed(x, affine, SHARE_UN)
        return found, moments.var_US

    compiled = torch.compile(both, backend=aot_autograd(fw_compiler=counted), fullgraph=True)
    torch.testing.assert_close(compiled(images), both(images))
    assert sizes[0] < 6 * 5


def test_no_batch_norm_no_term() -> None:
    """AlexNet takes part with cross-entropy alone."""
    assert bn_statistics.batch_norm_term(models.build("alexnet", 3, 16, 0), 10.0) is None
