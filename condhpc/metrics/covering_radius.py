"""Covering radius: how far the worst-served real image is from the condensed set (the k-center objective)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics.base import Measurement, Metric, Points, centred, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_ROWS = 4096


class CoveringRadius(Metric):
    """Per class max over real points of the Euclidean distance to the nearest set point; mean over classes."""

    unit = "distance"
    better = "lower"

    def compute(self, classes: list[Points], params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        del params
        return mean_over_classes(radius(*centred(label, points)) for label, points in enumerate(classes))


def radius(real_ND: NDArray[np.float64], set_MD: NDArray[np.float64]) -> float:
    """max_x min_s ‖x − s‖. The worst x is found by matrix products, its distance then computed by differences."""
    import numpy as np

    set_sq_M = (set_MD**2).sum(axis=1)
    nearest_N = np.concatenate(
        [
            (block**2).sum(axis=1) + (set_sq_M - 2.0 * (block @ set_MD.T)).min(axis=1)
            for block in np.split(real_ND, range(_BLOCK_ROWS, len(real_ND), _BLOCK_ROWS))
        ]
    )
    worst_D = real_ND[np.argmax(nearest_N)]
    return float(np.sqrt(((worst_D - set_MD) ** 2).sum(axis=1).min()))


PLUGIN = CoveringRadius()
