"""Optimisers, schedules and averages of weights."""

from __future__ import annotations

import pytest
import torch
from made_training import student
from torch import nn

from condhpc import optimize
from condhpc.spec import Optimizer

SGD = Optimizer(name="sgd", lr=0.05, weight_decay=0.001)


def test_the_learning_rate_is_half_a_cosine() -> None:
    """From the full rate at step 0 through half of it in the middle to almost nothing, and no warm-up."""
    recipe = Optimizer(name="sgd", lr=0.2, weight_decay=0.0)
    rates = [optimize.learning_rate(recipe, step, 100) for step in range(100)]
    assert (rates[0], rates[50]) == (0.2, pytest.approx(0.1))
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.2 * 3e-4


def test_a_stretched_cosine_ends_early() -> None:
    """With 2, training sees the first half of the cosine: it ends at half the peak (RDED, DELT, EDC)."""
    recipe = Optimizer(name="adamw", lr=0.2, weight_decay=0.0, stretch=2.0)
    peer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(peer, T_max=200)
    for step in range(100):
        assert optimize.learning_rate(recipe, step, 100) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6)
        peer.step()
        schedule.step()
    assert optimize.learning_rate(recipe, 100, 100) == pytest.approx(0.1)


def test_a_step_schedule_falls_at_its_milestones() -> None:
    """As torch's own: × gamma after each share of the steps."""
    recipe = Optimizer(name="sgd", lr=1.0, weight_decay=0.0, schedule="step", milestones=(2 / 3, 5 / 6), gamma=0.2)
    peer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(peer, milestones=[40, 50], gamma=0.2)
    for step in range(60):
        assert optimize.learning_rate(recipe, step, 60) == pytest.approx(schedule.get_last_lr()[0])
        peer.step()
        schedule.step()


@pytest.mark.parametrize("recipe", [Optimizer(name="adamw", lr=0.1, weight_decay=0.5), SGD])
def test_norms_and_biases_do_not_decay(recipe: Optimizer) -> None:
    """Without gradients, decay is all that a step does: to weights of layers, and to nothing else."""
    model = student()
    optimizer = optimize.make_optimizer(model, recipe)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"features.0.weight", "features.4.weight", "features.8.weight", "head.weight"}


def test_sgd_has_nesterov_momentum() -> None:
    """With a constant gradient g the first step is lr·(g + momentum·g)."""
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    optimizer = optimize.make_optimizer(model, Optimizer(name="sgd", lr=0.1, weight_decay=0.0, momentum=0.9))
    model.weight.grad = torch.ones(1, 1)
    optimizer.step()
    assert before - model.weight.item() == pytest.approx(0.1 * 1.9, rel=1e-5)


def test_adamw_takes_both_betas_of_the_recipe() -> None:
    """`momentum` is AdamW's first beta."""
    recipe = Optimizer(name="adamw", lr=0.1, weight_decay=0.01, momentum=0.8, beta2=0.95)
    optimizer = optimize.make_optimizer(nn.Linear(1, 1), recipe)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.8, 0.95)] * 2


def test_sgd_without_nesterov_and_with_decay_of_all() -> None:
    """IDC's recipe: a first step is lr × (gradient + decay × weight), of biases too."""
    model = nn.Linear(1, 1)
    recipe = Optimizer(name="sgd", lr=0.1, weight_decay=0.5, nesterov=False, decay_all=True)
    optimizer = optimize.make_optimizer(model, recipe)
    weight, bias = model.weight.item(), model.bias.item()
    model.weight.grad, model.bias.grad = torch.ones(1, 1), torch.ones(1)
    optimizer.step()
    assert model.weight.item() == pytest.approx(weight - 0.1 * (1 + 0.5 * weight), rel=1e-5)
    assert model.bias.item() == pytest.approx(bias - 0.1 * (1 + 0.5 * bias), rel=1e-5)


def test_an_average_follows_by_its_decay() -> None:
    """V ← d·v + (1 − d)·p from the initial weights on, as torch's own averaged model does."""
    model = student()
    average = optimize.Average(model, 0.9)
    peer = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    peer.update_parameters(model)  # torch's first call takes the weights as they are
    for step in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * (step + 1))
        average.update()
        peer.update_parameters(model)
    for ours, theirs in zip(average.values, peer.module.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_exchanging_twice_changes_nothing() -> None:
    """Averages go into the network and come back out of it bit for bit; without a decay nothing moves."""
    model = student()
    before = [p.detach().clone() for p in model.parameters()]
    average = optimize.Average(model, 0.5)
    for parameter in model.parameters():
        parameter.data.mul_(2.0)
    average.exchange()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    average.exchange()
    assert all(torch.equal(p, 2.0 * b) for p, b in zip(model.parameters(), before, strict=True))
    assert optimize.Average(model, 0.0).values == []
