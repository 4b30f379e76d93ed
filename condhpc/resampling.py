"""Intervals over real points: the bootstrap of a mean over classes, each class resampled by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_REPLICATES = 1000
_ENTRIES = 1 << 22
PERCENT = 95.0


def means(samples_bN: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each sample."""
    found: NDArray[np.float64] = samples_bN.mean(axis=1)
    return found


def interval(
    parts: Sequence[NDArray[Any]], stream: Callable[..., np.random.Generator], statistic: Statistic = means
) -> dict[str, Any]:
    """Fields `low`, `high` and `interval_over` of a measurement: percentiles of the mean over classes of a statistic.

    `parts` has one value per real point of each class. What the values rest on (balls, set points) stays as it is.
    """
    found_r = np.zeros(_REPLICATES)
    for label, values_N in enumerate(parts):
        found_r += _replicates(values_N.astype(np.float64), stream("bootstrap", label), statistic) / len(parts)
    tail = (100.0 - PERCENT) / 2
    low, high = np.percentile(found_r, [tail, 100.0 - tail])
    return {"low": float(low), "high": float(high), "interval_over": "real points"}


def _replicates(values_N: NDArray[np.float64], draw: np.random.Generator, statistic: Statistic) -> NDArray[np.float64]:
    """The statistic of resampled points; drawn so that the size of a batch of replicates changes nothing."""
    batch = max(1, _ENTRIES // len(values_N))
    found = []
    for start in range(0, _REPLICATES, batch):
        count = min(batch, _REPLICATES - start)
        drawn_bN = draw.integers(0, len(values_N), size=(count, len(values_N)))
        found.append(statistic(values_N[drawn_bN]))
    return np.concatenate(found)
