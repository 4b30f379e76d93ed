"""Optimisers, their schedules, and the average of weights that some protocols test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from condhpc.spec import Optimizer

_EPSILON = 1e-8


def make_optimizer(model: nn.Module, recipe: Optimizer) -> torch.optim.Optimizer:
    """AdamW or SGD; norm parameters and biases (those of one dimension) do not decay, unless `decay_all`."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    small = recipe.weight_decay if recipe.decay_all else 0.0
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": small}]
    if recipe.name == "adamw":
        betas = (recipe.momentum, recipe.beta2)
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=_EPSILON, fused=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)


def learning_rate(recipe: Optimizer, step: int, steps: int) -> float:
    """Learning rate of a step, from `lr` at step 0: half a cosine over `stretch` × the steps, or falling in steps."""
    if recipe.schedule == "step":
        passed = sum(step >= share * steps for share in recipe.milestones)
        return recipe.lr * recipe.gamma**passed
    return 0.5 * recipe.lr * (1.0 + math.cos(math.pi * step / (recipe.stretch * steps)))


class Average:
    """Exponential moving average of a network's parameters; buffers, such as batch-norm statistics, are its own.

    That is what EDC tests (Shao et al., NeurIPS 2024, in its code).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = [p.data for p in model.parameters()]
        self._decay = decay
        self.values: list[Tensor] = [p.clone() for p in self._parameters] if decay else []
        """One per parameter; none where nothing is averaged."""

    def update(self) -> None:
        """Take in the parameters as they are after an optimiser step."""
        if self.values:
            torch._foreach_lerp_(self.values, self._parameters, 1.0 - self._decay)

    def exchange(self) -> None:
        """Swap the averages and the network's parameters; a second call swaps them back."""
        for value, parameter in zip(self.values, self._parameters, strict=bool(self.values)):
            held = parameter.clone()
            parameter.copy_(value)
            value.copy_(held)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """For all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr
