"""The recovery loop: its gradient, its optimiser, its independence of groups, resumption and divergence."""

from typing import Any

import numpy as np
import pytest
import recovery_work as rw
import torch

from condhpc import recovery
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
