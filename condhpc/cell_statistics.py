"""A cell over its seeds: mean, deviation and interval of the accuracies of its students."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from condhpc.intervals import deviation, mean_interval

_DECIMALS = 6
"""Of means, deviations and intervals; single results are written with as many digits as they have."""


class Evaluation(NamedTuple):
    """One recorded evaluation of a cell."""

    set_seed: int | None
    top1_pct: float


class Statistics(NamedTuple):
    """A cell over its seeds."""

    n: int
    n_sets: int
    mean: float | None
    """Every condensed set weighs the same, also where one has fewer students."""
    sd: float | None
    """Over single evaluations, ddof 1."""
    low: float | None
    high: float | None
    over: Literal["set_seed", "student_seed", ""]
    """What the 95 % interval of the mean generalises over; students of one set do not count as independent sets."""


def cell_statistics(evaluations: Iterable[Evaluation]) -> Statistics:
    """Mean, sd and Student-t interval: over the means of sets where there are two sets or more, else over students."""
    single, means = _values(evaluations)
    if not single:
        return Statistics(0, 0, None, None, None, None, "")
    interval = mean_interval(means if len(means) > 1 else single)
    low, high = interval if interval is not None else (None, None)
    return Statistics(
        n=len(single),
        n_sets=len(means),
        mean=_mean(means),
        sd=_sd(single),
        low=_rounded(low),
        high=_rounded(high),
        over="" if interval is None else "set_seed" if len(means) > 1 else "student_seed",
    )


def centre(evaluations: Iterable[Evaluation]) -> tuple[float | None, float | None]:
    """Mean and sd as `cell_statistics` has them, without its intervals, which take longer."""
    single, means = _values(evaluations)
    return (_mean(means), _sd(single)) if single else (None, None)


def independent(evaluations: Iterable[Evaluation]) -> list[float]:
    """What an interval is taken over: means of sets where there are two sets or more, else single students."""
    single, means = _values(evaluations)
    return means if len(means) > 1 else single


def _values(evaluations: Iterable[Evaluation]) -> tuple[list[float], list[float]]:
    """Single values, and means of sets."""
    by_set: dict[int | None, list[float]] = defaultdict(list)
    for found in evaluations:
        by_set[found.set_seed].append(found.top1_pct)
    return [value for values in by_set.values() for value in values], [statistics.fmean(v) for v in by_set.values()]


def _mean(means: Sequence[float]) -> float | None:
    return _rounded(statistics.fmean(means))


def _sd(single: Sequence[float]) -> float | None:
    return _rounded(deviation(single)) if len(single) > 1 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
