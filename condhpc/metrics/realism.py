"""Realism (Kynkäänniemi et al. 2019, §5): how deep in the real manifold a set point is, at best over real points.

Of each set point the largest r_i / d(y, x_i) over real points x_i whose ball (radius r_i to the k-th nearest other real
point) is smaller than the median: above 1 is inside a ball. The real point that a set point is does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics._balls import BallParams, pooled_radii_sq, real_radii_sq, too_small
from condhpc.metrics.base import Measurement, Metric, Points, Scene, checked, mean_over_classes, pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Realism(Metric):
    """Mean over the set points of a class, then over classes. No interval: it is a maximum over real points."""

    unit = "ratio"
    better = "higher"
    Params = BallParams

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        values, reasons = [], []
        for label, (points, radius_sq_N) in enumerate(zip(scene.classes, real_radii_sq(scene, params.k), strict=True)):
            checked(label, points)
            found = too_small(label, points, params.k) or _realism(points, radius_sq_N, scene.device)
            values.append(None if isinstance(found, str) else found)
            if isinstance(found, str):
                reasons.append(found if found.startswith("class") else f"class {label}: {found}")
        more = {"pooled": self._pooled(scene, params)}
        return mean_over_classes(values, reasons[0] if reasons else "", **more)

    def _pooled(self, scene: Scene, params: Any) -> float | None:
        if not params.pooled_points:
            return None
        points = pooled(scene, params.pooled_points)
        if len(points.real_ND) <= params.k:
            return None
        found = _realism(points, pooled_radii_sq(scene, points, params), scene.device)
        return None if isinstance(found, str) else found


def _realism(points: Points, radius_sq_N: NDArray[np.float64], device: str) -> float | str:
    """Mean over set points, or why there is none."""
    import numpy as np
    import torch

    from condhpc import balls, neighbours

    median = np.median(radius_sq_N) * (1.0 - neighbours.TIE)  # equal radii may differ in their last bits
    small_S = np.flatnonzero((radius_sq_N < median) & (radius_sq_N > 0.0))
    if not small_S.size:
        return "no real point has a ball below the median: all balls are as large, or points coincide"
    real, chosen = neighbours.clouds(points.real_ND[small_S], points.set_MD, device=device)
    row_of = np.full(len(points.real_ND) + 1, -1, dtype=np.int64)
    row_of[small_S] = np.arange(len(small_S))
    skip = neighbours.Skip.own(row_of[points.own_M], device).turned()
    radius_sq = torch.from_numpy(radius_sq_N[small_S]).to(device)
    ratio_M = balls.largest_ratio(chosen, real, radius_sq, skip)
    on = torch.isinf(ratio_M).nonzero().flatten()
    if len(on):
        return (
            f"set point {int(on[0])} coincides with a real point, where realism is unbounded; "
            "a set of real images needs its source index"
        )
    return float(ratio_M.mean())


PLUGIN = Realism()
