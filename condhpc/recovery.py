"""The one loop that optimises pixels so that frozen networks see a class, and statistics that they know.

SRe2L (Yin et al., NeurIPS 2023, §3.2) and its followers: a crop of every image passes a backbone; cross-entropy and a
statistics term pull at the pixels; Adam; pixels stay within black and white. Units share forward passes, and each has
its own statistics and crops, so that its gradient is that of the unit alone. Nothing waits for the device: losses stay
on it and are looked at now and then. Shapes: U units, N images, T terms, S steps, R pixels of a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from condhpc import pixels, stem_gradient, unit_augment
from condhpc.bn_statistics import Batch, Term
from condhpc.device import to_device
from condhpc.recovery_watch import Watch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from condhpc.methods.base import Group, Unit, Work

Objective = Callable[["Tensor", "Tensor", Batch], "Tensor"]
BETAS, EPSILON = (0.5, 0.9), 1e-8
_TINY = 1e-30
"""Below a root, so that flat images have the gradient 0."""


class Backbone(NamedTuple):
    """A frozen network in eval mode, and its statistics term."""

    model: nn.Module
    term: Term | None
    """None: cross-entropy alone, as for a network without batch norm."""
    weight: float
    """Of the term."""


@dataclass(frozen=True)
class Recipe:
    """How the pixels of a group are optimised."""

    steps: int
    lr: float
    """At step 0; half a cosine to 0 over all steps."""
    scale_min_S: NDArray[np.float64]
    """Lower bound of the area share of crops at each step; `unit_augment.scale_curriculum` makes it."""
    flip: bool
    roll_px: int
    fidelity: pixels.Fidelity
    """Under `code` the final pixels are truncated to uint8 and Adam's bias correction ignores when images join."""
    tv_weight: float = 0.0
    l2_weight: float = 0.0
    joins: Callable[[Unit], Sequence[int]] | None = None
    """Step at which each image of a unit becomes active; one of each unit must be 0. None: all from the start."""
    compile: str = ""
    """Mode of torch.compile for the forward passes; empty: none."""


@dataclass
class _State:
    """What the next step depends on, beside what its number implies."""

    step: int
    pixels_NCHW: Tensor
    first_NCHW: Tensor
    second_NCHW: Tensor
    """Adam's moments."""


def recover(
    work: Work, group: Group, recipe: Recipe, backbones: Sequence[Backbone], start: Callable[[Work, Unit], Tensor]
) -> NDArray[np.uint8]:
    """Images of the group's units, one after the other (N, R, R, 3); one backbone per step, in turn.

    `start` gives normalised pixels (n, 3, R, R) of a unit. Raises StageError naming unit, step and term where a loss is
    not finite or nearly all pixels of a unit are black or white, and whatever `tick` raises.
    """
    for backbone in backbones:
        stem_gradient.install(backbone.model)
    state = _resumed(work, backbones) or _begin(work, group, start)
    joins_N = _joins(recipe, group)
    draws = [_draws(work, unit, recipe) for unit in group]
    objectives = [_objective(backbone, recipe, work) for backbone in backbones]
    limits = pixels.bounds(work.spec.dataset, work.device)
    watch = Watch(group, _names(recipe, backbones), recipe.steps, work.device)
    active_n, batch = np.empty(0, dtype=np.int64), None

    try:
        for step in range(state.step, recipe.steps):
            now_n = np.flatnonzero(joins_N <= step)
            if batch is None or len(now_n) != len(active_n):
                active_n, batch = now_n, _batch(group, now_n, work.device)
            which = None if len(active_n) == len(joins_N) else to_device(active_n, work.device)
            leaf_NCHW = _rows(state.pixels_NCHW, which).detach().requires_grad_()
            sources_2UR = to_device(unit_augment.sources(draws, step, work.spec.resolution), work.device)
            losses_TU = objectives[step % len(backbones)](leaf_NCHW, sources_2UR, batch)
            (gradient_NCHW,) = torch.autograd.grad(losses_TU.sum(), leaf_NCHW)
            age_n = step + 1 - (joins_N[active_n] if recipe.fidelity == "paper" else np.zeros_like(active_n))
            _update(state, which, gradient_NCHW, _learning_rate(recipe, step), age_n, limits)
            state.step = step + 1
            values = watch.after(step, losses_TU.detach(), state.pixels_NCHW, limits)
            work.steps.tick(step + 1, recipe.steps, lambda: _content(state, backbones, watch), **values)
    finally:
        for backbone in backbones:
            if backbone.term is not None:
                backbone.term.end()
    return pixels.finished(state.pixels_NCHW, work.spec.dataset, recipe.fidelity)


def _begin(work: Work, group: Group, start: Callable[[Work, Unit], Tensor]) -> _State:
    begun_NCHW = torch.cat([start(work, unit) for unit in group]).to(work.device)
    return _State(0, begun_NCHW, torch.zeros_like(begun_NCHW), torch.zeros_like(begun_NCHW))


def _resumed(work: Work, backbones: Sequence[Backbone]) -> _State | None:
    held = work.steps.resumed
    if held is None:
        return None
    for backbone, term in zip(backbones, held["terms"], strict=True):
        if backbone.term is not None:
            backbone.term.restore(term)
    return _State(int(held["step"]), *(held[name].to(work.device) for name in ("pixels", "first", "second")))


def _content(state: _State, backbones: Sequence[Backbone], watch: Watch) -> dict[str, Any]:
    """All that `_resumed` takes over; raises StageError instead of keeping what has diverged."""
    watch.look(state.step)
    terms = [backbone.term.state() if backbone.term is not None else {} for backbone in backbones]
    held = {"pixels": state.pixels_NCHW, "first": state.first_NCHW, "second": state.second_NCHW}
    return {"step": state.step, "terms": terms, **held}


def _joins(recipe: Recipe, group: Group) -> NDArray[np.int64]:
    """Step at which each image of the group becomes active (N,)."""
    steps = [recipe.joins(unit) if recipe.joins is not None else [0] * len(unit.labels) for unit in group]
    return np.concatenate([np.asarray(part, dtype=np.int64) for part in steps])


def _draws(work: Work, unit: Unit, recipe: Recipe) -> unit_augment.UnitDraws:
    """From the unit's own stream, so that its crops do not depend on who shares its forward passes."""
    stream = work.stream("crops", unit.name)
    return unit_augment.draw(stream, work.spec.resolution, recipe.scale_min_S, flip=recipe.flip, roll_px=recipe.roll_px)


def _batch(group: Group, active_n: NDArray[np.int64], device: str) -> Batch:
    labels_N = np.concatenate([np.asarray(unit.labels, dtype=np.int64) for unit in group])[active_n]
    unit_N = np.repeat(np.arange(len(group)), [len(unit.labels) for unit in group])[active_n]
    member_UN = np.arange(len(group))[:, None] == unit_N
    share_UN = (member_UN / member_UN.sum(axis=1, keepdims=True)).astype(np.float32)
    return Batch(*(to_device(array, device) for array in (labels_N, unit_N, share_UN)))


def _names(recipe: Recipe, backbones: Sequence[Backbone]) -> list[str]:
    """What the rows of the losses are called."""
    term = next((backbone.term.name for backbone in backbones if backbone.term is not None), "statistics")
    priors = [name for name, weight in (("TV", recipe.tv_weight), ("L2", recipe.l2_weight)) if weight]
    return ["cross-entropy", term, *priors]


def _objective(backbone: Backbone, recipe: Recipe, work: Work) -> Objective:
    """Weighted losses (T, U) of pixels, where crops look, and whose images they are."""
    bf16, device = work.spec.precision == "bf16", torch.device(work.device).type
    priors = (recipe.tv_weight, recipe.l2_weight)
    if recipe.compile:
        return _compiled(backbone, priors, device, bf16, recipe.compile)
    return partial(_losses, backbone, priors, device, bf16)


@lru_cache(maxsize=16)
def _compiled(backbone: Backbone, priors: tuple[float, float], device: str, bf16: bool, mode: str) -> Objective:  # noqa: FBT001
    """One for all groups that a backbone sees with the same term."""
    found: Objective = torch.compile(partial(_losses, backbone, priors, device, bf16), mode=mode)
    return found


def _losses(
    backbone: Backbone,
    priors: tuple[float, float],
    device: str,
    bf16: bool,  # noqa: FBT001
    pixels_NCHW: Tensor,
    sources_2UR: Tensor,
    batch: Batch,
) -> Tensor:
    seen_NCHW = unit_augment.apply(pixels_NCHW, sources_2UR, batch.unit_N)
    if backbone.term is not None:
        backbone.term.begin(batch)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
        logits_NK = backbone.model(seen_NCHW.contiguous(memory_format=torch.channels_last)).float()
    entropy_U = batch.share_UN @ functional.cross_entropy(logits_NK, batch.labels_N, reduction="none")
    matched = backbone.term.losses() * backbone.weight if backbone.term is not None else torch.zeros_like(entropy_U)
    terms = [entropy_U, matched]
    tv_weight, l2_weight = priors
    if tv_weight:
        terms.append(tv_weight * total_variation(seen_NCHW, batch))
    if l2_weight:
        terms.append(l2_weight * (batch.share_UN @ seen_NCHW.flatten(1).norm(dim=1)))
    return torch.stack(terms)


def total_variation(images_NCHW: Tensor, batch: Batch) -> Tensor:
    """Norms over a unit of differences to the right, below and along both diagonals, added (U,) (DeepInversion)."""
    body, right = images_NCHW[..., :-1], images_NCHW[..., 1:]
    differences = [
        body - right,
        images_NCHW[..., :-1, :] - images_NCHW[..., 1:, :],
        body[..., :-1, :] - right[..., 1:, :],
        body[..., 1:, :] - right[..., :-1, :],
    ]
    member_UN = (batch.share_UN > 0.0).to(images_NCHW.dtype)
    squares_U = [member_UN @ difference.square().flatten(1).sum(dim=1) for difference in differences]
    return torch.stack([(square_U + _TINY).sqrt() for square_U in squares_U]).sum(dim=0)


def _learning_rate(recipe: Recipe, step: int) -> float:
    return 0.5 * recipe.lr * (1.0 + math.cos(math.pi * step / recipe.steps))


def _rows(values_NCHW: Tensor, which_n: Tensor | None) -> Tensor:
    return values_NCHW if which_n is None else values_NCHW.index_select(0, which_n)


def _update(
    state: _State,
    which_n: Tensor | None,
    gradient_NCHW: Tensor,
    lr: float,
    age_n: NDArray[np.int64],
    limits: tuple[Tensor, Tensor],
) -> None:
    """Adam for the active images (all where `which_n` is None), with the age of each in steps; then the clamp."""
    held = (state.pixels_NCHW, state.first_NCHW, state.second_NCHW)
    pixels_nCHW, first_nCHW, second_nCHW = (_rows(values, which_n) for values in held)
    first_nCHW.lerp_(gradient_NCHW, 1.0 - BETAS[0])
    second_nCHW.mul_(BETAS[1]).addcmul_(gradient_NCHW, gradient_NCHW, value=1.0 - BETAS[1])
    step_n = lr / (1.0 - BETAS[0] ** age_n)
    root_n = 1.0 / np.sqrt(1.0 - BETAS[1] ** age_n)
    scales = to_device(np.stack([step_n, root_n]).astype(np.float32), pixels_nCHW.device)[..., None, None, None]
    spread_nCHW = second_nCHW.sqrt().mul_(scales[1]).add_(EPSILON)
    pixels_nCHW.sub_(spread_nCHW.reciprocal_().mul_(first_nCHW).mul_(scales[0])).clamp_(*limits)
    if which_n is not None:
        for values, part in zip(held, (pixels_nCHW, first_nCHW, second_nCHW), strict=True):
            values.index_copy_(0, which_n, part)
