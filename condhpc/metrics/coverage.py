"""Coverage of PRDC (Naeem et al. 2020, eq. 7): the share of real points whose neighbourhood holds a set point.

The neighbourhood of a real point is the open ball that reaches to its k-th nearest other real point. Differs
from the paper where the set is made of real points (coresets): a set point does not count for its own ball.
With few images per class the value is small even for a perfect set (k = 5, 10 of 1,300 points: 3.8 % at most
in expectation), so compare it at equal ipc only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from condhpc.metrics.base import Measurement, Metric, MetricParams, Points, centred, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_ROWS = 1024
_SLACK = 1e-9
"""Distances whose squares agree to this share (and to 1e-12 of the largest square norm) are equal: not inside."""


class CoverageParams(MetricParams, frozen=True):
    """Parameters of coverage."""

    k: Annotated[int, Meta(ge=1, description="which nearest other real point bounds a ball")] = 5


class Coverage(Metric):
    """Mean over classes; no value where a class has k or fewer real points."""

    unit = "fraction"
    better = "higher"
    Params = CoverageParams

    def compute(self, classes: list[Points], params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        small = [label for label, points in enumerate(classes) if len(points.real_ND) <= params.k]
        reason = ""
        if small:
            count = len(classes[small[0]].real_ND)
            reason = f"class {small[0]} has {count} real points, k = {params.k} needs at least {params.k + 1}"
        values = (
            None if label in small else covered(*centred(label, points), points.own_M, params.k)
            for label, points in enumerate(classes)
        )
        return mean_over_classes(values, reason)


def covered(real_ND: NDArray[np.float64], set_MD: NDArray[np.float64], own_M: NDArray[np.int64], k: int) -> float:
    """Share of real points with a set point, not themselves, strictly nearer than their k-th nearest real point.

    Works on blocks of real points against all others: O(N·(N+M)·D) time, O(N) memory per row of a block.
    """
    import numpy as np

    others_XD = np.concatenate([real_ND, set_MD[own_M < 0]])
    columns_M = np.where(own_M < 0, len(real_ND) + np.cumsum(own_M < 0) - 1, own_M)
    sq_X = (others_XD**2).sum(axis=1)
    floor = 1e-12 * float(sq_X.max())
    hits = 0
    for start in range(0, len(real_ND), _BLOCK_ROWS):
        rows_b = np.arange(start, min(start + _BLOCK_ROWS, len(real_ND)))
        sq_bX = sq_X[rows_b, None] + sq_X - 2.0 * (real_ND[rows_b] @ others_XD.T)
        sq_bX[np.arange(len(rows_b)), rows_b] = np.inf
        radius_sq_b = np.partition(sq_bX[:, : len(real_ND)], k - 1, axis=1)[:, k - 1]
        nearest_b = sq_bX[:, columns_M].min(axis=1)
        hits += int((nearest_b < radius_sq_b * (1.0 - _SLACK) - floor).sum())
    return hits / len(real_ND)


PLUGIN = Coverage()
