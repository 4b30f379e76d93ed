"""What a coreset strategy is told, and what it chooses: real images of the training split, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from condhpc import holdout, registry, rng, selection
from condhpc.coresets.base import ClassImages
from condhpc_jobs import inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from condhpc.arrays import Embeddings
    from condhpc.context import Context
    from condhpc.coresets.base import Coreset
    from condhpc.datasets.base import Split
    from condhpc.spec import CondenseSpec, Need

    Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Known:
    """What is known of the training images beside themselves; row or column = position in the split."""

    embeddings: Embeddings | None
    dynamics: Sequence[Mapping[str, NDArray[Any]]]
    """Of each member of the proxy, (E, N) by name."""

    def of(self, positions_n: NDArray[np.int64], stream: np.random.Generator) -> ClassImages:
        """Some images of one class, as a strategy sees them."""
        held = self.embeddings
        return ClassImages(
            len(positions_n),
            stream,
            held.rows(positions_n) if held is not None else None,
            {name: score_N[positions_n] for name, score_N in held.scores.items()} if held is not None else {},
            [{name: array_EN[:, positions_n] for name, array_EN in member.items()} for member in self.dynamics],
        )


def select(ctx: Context, train_split: Split, embeddings: Embeddings | None) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Positions in the split, class-major, each class in the order chosen; and for the record what was tuned."""
    spec: CondenseSpec = ctx.spec
    plugin: Coreset = registry.load("coresets", spec.condenser)
    params = msgspec.convert(spec.params, plugin.Params)
    known = Known(embeddings, _dynamics(ctx, plugin, plugin.needs(params), len(train_split)))

    def choose(stream: str, params: Any, among: Sequence[NDArray[np.int64]], tick: Tick) -> NDArray[np.int64]:
        """Each class with a stream of its own, so that no class depends on another."""
        classes = (known.of(of_n, rng.stream(spec.seed or 0, stream, label)) for label, of_n in enumerate(among))
        within = selection.select_classes(
            plugin,
            classes,
            spec.ipc,
            params,
            device=ctx.device,
            threads=ctx.threads,
            tick=lambda done: tick(done, len(among)),
        )
        return np.concatenate([of_n[picks_m] for of_n, picks_m in zip(among, within, strict=True)])

    params, told = _tuned(ctx, train_split, plugin, params, choose)
    of_class = [train_split.of_class(label) for label in range(spec.dataset.classes)]
    return choose(spec.condenser, params, of_class, ctx.tick), told


def _tuned(
    ctx: Context, train_split: Split, plugin: Coreset, params: Any, choose: Callable[..., NDArray[np.int64]]
) -> tuple[Any, dict[str, Any]]:
    """Parameters to select with; where several were tried on a hold-out slice, how each of them did."""
    trials = plugin.trials(params)
    if trials is None:
        return params, {}
    if len(trials.candidates) == 1:
        return trials.candidates[0], {}
    bench = holdout.Bench(ctx.spec, train_split, ctx.device, ctx.threads, ctx)
    stream = f"{ctx.spec.condenser}-trial"
    found = holdout.accuracies(trials, lambda p, among: choose(stream, p, among, _silent), bench)
    best = max(range(len(found)), key=found.__getitem__)  # the first of equals
    tried = [_changes(params, candidate) for candidate in trials.candidates]
    return trials.candidates[best], {
        "tuned": tried[best],
        "trials": [{**changes, "holdout_top1_pct": top1_pct} for changes, top1_pct in zip(tried, found, strict=True)],
    }


def _silent(step: int, total: int) -> None:
    """Choosing is short beside a training, which ticks."""


def _changes(params: Any, candidate: Any) -> dict[str, Any]:
    given: dict[str, Any] = msgspec.to_builtins(params)
    return {name: value for name, value in msgspec.to_builtins(candidate).items() if given[name] != value}


def _dynamics(ctx: Context, plugin: Coreset, needs: Mapping[str, Need], count: int) -> list[dict[str, NDArray[Any]]]:
    """Of each network whose training is asked for, what the strategy reads of it."""
    roles = [role for name, need in needs.items() if need.dynamics for role in ctx.roles(name)]
    return [inputs.load_dynamics(ctx, role, plugin.dynamics, count) for role in roles]
