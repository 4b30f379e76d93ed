"""The recovery loop: its gradient, its optimiser, its independence of groups, resumption and divergence."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import recovery_work as rw
import torch
from torch import nn

from condhpc import models, pixels, recovery, rng, unit_augment
from condhpc.bn_statistics import Batch, batch_norm_term
from condhpc.errors import StageError, Stopped

GROUP = (rw.unit(0), rw.unit(1))


def first_gradient(monkeypatch: pytest.MonkeyPatch, group: Any, recipe: recovery.Recipe) -> torch.Tensor:
    """Of the first step."""
    seen: list[torch.Tensor] = []
    kept = recovery._update

    def noting(state: Any, which: Any, gradient: torch.Tensor, *rest: Any) -> None:
        seen.append(gradient.clone())
        kept(state, which, gradient, *rest)

    monkeypatch.setattr(recovery, "_update", noting)
    rw.run(rw.make_work(), group, recipe, rw.backbones())
    monkeypatch.setattr(recovery, "_update", kept)
    return seen[0]


def test_a_units_gradient_is_that_of_the_unit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units that share a forward pass, of different sizes too, keep their own statistics, crops and means."""
    group = (rw.unit(0), rw.unit(1, (2,)), rw.unit(2, (1, 0)))
    recipe = rw.recipe(1, tv_weight=0.01, l2_weight=0.01)
    together = first_gradient(monkeypatch, group, recipe)
    alone = torch.cat([first_gradient(monkeypatch, (unit,), recipe) for unit in group])
    torch.testing.assert_close(together, alone, rtol=2e-5, atol=1e-7)


def test_plain_run_is_torchs_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels after all steps are those of torch.optim.Adam with the same gradients, cosine and clamp."""
    gradients: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    kept = recovery._update

    def noting(state: Any, which: Any, gradient: torch.Tensor, *rest: Any) -> None:
        gradients.append(gradient.clone())
        states.append(state.pixels_NCHW.clone())
        kept(state, which, gradient, *rest)
        states[len(gradients) :] = [state.pixels_NCHW.clone()]

    monkeypatch.setattr(recovery, "_update", noting)
    rw.run(rw.make_work(), GROUP, rw.recipe(5), rw.backbones())
    pixels = states[0].clone().requires_grad_()
    adam = torch.optim.Adam([pixels], lr=0.1, betas=(0.5, 0.9), eps=1e-8)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 5)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (rw.MEAN, rw.STD))
    for gradient in gradients:
        pixels.grad = gradient
        adam.step()
        cosine.step()
        with torch.no_grad():
            pixels.copy_(torch.minimum(torch.maximum(pixels, -mean / std), (1 - mean) / std))
    torch.testing.assert_close(states[-1], pixels.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_resumes_to_the_same_bits(count: int) -> None:
    """A recovery that was stopped half-way ends in the very same images, with one backbone or several."""
    whole = rw.run(rw.make_work(), GROUP, rw.recipe(), rw.backbones(count))
    stopped = rw.Progress(stop_at=3)
    with pytest.raises(Stopped):
        rw.run(rw.make_work(stopped), GROUP, rw.recipe(), rw.backbones(count))
    resumed = rw.run(rw.make_work(rw.Progress(stopped.state)), GROUP, rw.recipe(), rw.backbones(count))
    np.testing.assert_array_equal(resumed, whole)


def test_priors_are_those_of_deepinversion() -> None:
    """Norms of the four kinds of neighbours' differences over a unit; TV is not a sum over single images."""
    images = torch.randn(3, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    found = recovery.total_variation(images, Batch(torch.zeros(3), torch.tensor([0, 0, 1]), shares))
    for unit, own in enumerate((images[:2].double().numpy(), images[2:].double().numpy())):
        pairs = (
            (own[..., :, 1:], own[..., :, :-1]),
            (own[..., 1:, :], own[..., :-1, :]),
            (own[..., 1:, 1:], own[..., :-1, :-1]),
            (own[..., 1:, :-1], own[..., :-1, 1:]),
        )
        assert float(found[unit]) == pytest.approx(sum(np.sqrt(((a - b) ** 2).sum()) for a, b in pairs), rel=1e-5)


def test_losses_are_the_sum_that_is_written_down() -> None:
    """Cross-entropy, r_bn times the term, and both priors of what the backbone sees, mean per unit."""
    (backbone,) = rw.backbones(weight=0.3)
    recipe = rw.recipe(1, tv_weight=0.02, l2_weight=0.05)
    work = rw.make_work()
    pixels_NCHW = torch.cat([pixels.noise(work, unit) for unit in GROUP])
    batch = recovery._batch(GROUP, np.arange(6), "cpu")
    draws = [recovery._draws(work, unit, recipe) for unit in GROUP]
    sources = torch.from_numpy(unit_augment.sources(draws, 0, rw.SIDE))
    found = recovery._objective(backbone, recipe, work)(pixels_NCHW, sources, batch)
    seen = unit_augment.apply(pixels_NCHW, sources, batch.unit_N)
    assert backbone.term is not None
    backbone.term.begin(batch)
    logits = backbone.model(seen).double().log_softmax(dim=1).numpy()
    entropy = -logits[np.arange(6), [0, 1, 2] * 2].reshape(2, 3).mean(axis=1)
    norms = np.sqrt((seen.double().numpy() ** 2).sum(axis=(1, 2, 3))).reshape(2, 3).mean(axis=1)
    np.testing.assert_allclose(found[0], entropy, rtol=1e-5)
    torch.testing.assert_close(found[1], 0.3 * backbone.term.losses())
    torch.testing.assert_close(found[2], 0.02 * recovery.total_variation(seen, batch))
    np.testing.assert_allclose(found[3], 0.05 * norms, rtol=1e-5)


def test_backbones_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One per step, in order; one without batch norm has cross-entropy alone."""
    networks = [*rw.backbones(2), recovery.Backbone(rw.network(5), None, 0.0)]
    seen: list[int] = []
    for number, backbone in enumerate(networks):
        backbone.model.register_forward_hook(lambda *_, number=number: seen.append(number))
    progress = rw.Progress()
    rw.run(rw.make_work(progress), GROUP, rw.recipe(7), networks)
    assert seen == [0, 1, 2, 0, 1, 2, 0]
    matched = [values["statistics"] for values in progress.values]
    assert [value > 0.0 for value in matched] == [True, True, False, True, True, False, True]


def test_late_images_wait_untouched() -> None:
    """Until it joins an image is as it started; from then on it moves."""
    started = pixels.noise(rw.make_work(), GROUP[0])
    kept: list[torch.Tensor] = []

    class Looking(rw.Progress):
        def tick(self, step: int, total: int, state: Any = None, **values: float) -> None:
            super().tick(step, total, state, **values)
            kept.append(state()["pixels"].clone())

    rw.run(rw.make_work(Looking()), GROUP[:1], rw.recipe(4, joins=lambda _unit: [0, 2, 0]), rw.backbones())
    assert torch.equal(kept[1][1], started[1])
    assert not torch.equal(kept[2][1], started[1])
    assert not torch.equal(kept[0][0], started[0])


def test_other_seeds_give_other_images() -> None:
    """The set seed reaches noise and crops."""
    first, second = (rw.run(rw.make_work(seed=seed), GROUP, rw.recipe(2), rw.backbones()) for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("changes", "message"), [({"lr": float("nan")}, "step 1 of"), ({"lr": 1e6}, "black or white")])
def test_divergence_names_unit_and_step(changes: dict[str, float], message: str) -> None:
    """A loss that is not finite and pixels that are all black or white stop the group in words."""
    with pytest.raises(StageError, match=message) as caught:
        rw.run(rw.make_work(), GROUP, rw.recipe(20, **changes), rw.backbones())
    assert "ipc 0" in str(caught.value)


def priors_of(images_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Total variation and L2 of two units, two images and one, as the engine weighs and adds them; pixels' gradient."""
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    batch = Batch(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), shares)
    draws = [unit_augment.draw(rng.stream(0), rw.SIDE, np.ones(1), flip=False, roll_px=0)] * 2
    sources = torch.from_numpy(unit_augment.sources(draws, 0, rw.SIDE))
    leaf = images_NCHW.requires_grad_()
    bare = recovery.Backbone(rw.network(), None, 0.0)
    losses_TU = recovery._losses(bare, (0.3, 0.7), "cpu", False, leaf, sources, batch)
    assert losses_TU.shape == (4, 2)
    assert not losses_TU[1].any()
    (gradient,) = torch.autograd.grad(losses_TU[2:].sum(), leaf)
    return losses_TU[2:].detach(), gradient


def test_priors_against_their_definition() -> None:
    """TV: norms over a unit of four differences, added. L2: mean norm of its images."""
    images = torch.randn(3, 3, rw.SIDE, rw.SIDE, generator=torch.Generator().manual_seed(0))
    found, _ = priors_of(images)
    for unit, part in enumerate((slice(0, 2), slice(2, 3))):
        x = images.detach().double().numpy()[part]
        differences = [
            x[..., 1:] - x[..., :-1],
            x[..., 1:, :] - x[..., :-1, :],
            x[..., 1:, 1:] - x[..., :-1, :-1],
            x[..., 1:, :-1] - x[..., :-1, 1:],
        ]
        assert float(found[0, unit]) == pytest.approx(0.3 * sum(np.sqrt((d**2).sum()) for d in differences), rel=1e-5)
        norms = [np.sqrt((image**2).sum()) for image in x]
        assert float(found[1, unit]) == pytest.approx(0.7 * np.mean(norms), rel=1e-5)


def test_flat_images_have_a_gradient() -> None:
    """Images of one colour, as a person may start from, have no variation: it pulls at nothing, and is not NaN."""
    _, gradient = priors_of(torch.full((3, 3, rw.SIDE, rw.SIDE), 0.5))
    assert torch.isfinite(gradient).all()


def test_compiled_losses_are_the_same() -> None:
    """One graph holds crops, network and the hooks of the term, also for other numbers of images, as DELT's rounds."""
    model = models.frozen(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)))
    backbone = recovery.Backbone(model, batch_norm_term(model, 10.0), 0.1)
    eager = partial(recovery._losses, backbone, (0.1, 0.1), "cpu", False)
    compiled = torch.compile(eager, backend="aot_eager", fullgraph=True)
    draws = [unit_augment.draw(rng.stream(0), rw.SIDE, np.full(1, 0.08), flip=True, roll_px=2)]
    sources = torch.from_numpy(unit_augment.sources(draws, 0, rw.SIDE))
    for count in (3, 5):
        batch = recovery._batch((rw.unit(0, (0, 1, 2, 0, 1)[:count]),), np.arange(count), "cpu")
        pixels = torch.randn(count, 3, rw.SIDE, rw.SIDE, generator=torch.Generator().manual_seed(0)).requires_grad_()
        expected, found = (run(pixels, sources, batch) for run in (eager, compiled))
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(losses.sum(), pixels)[0] for losses in (expected, found)]
        torch.testing.assert_close(gradients[1], gradients[0])
