"""ε-coverage: the share of real images with a set point within ε, as the area under the curve over ε.

ε runs from 0 to the class's own scale, the root mean square distance of two real images, so that there is no parameter
and the value is in 0..1. A real image in the set does not serve itself; the next set point does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics._served import nearest_set_point
from condhpc.metrics.base import Measurement, Metric, Points, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEPS = 20


class EpsilonCoverage(Metric):
    """Mean over classes. `details`: the curve at ε = 0, 5, … 100 % of the scale, mean over classes."""

    unit = "fraction"
    better = "higher"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        import numpy as np

        from condhpc import resampling

        del params
        shares = [_in_units_of_scale(checked(label, p), scene.device) for label, p in enumerate(scene.classes)]
        known = [part for part in shares if part is not None]
        values = [None if part is None else float((1.0 - np.minimum(part, 1.0)).mean()) for part in shares]
        if len(known) < len(shares):
            label = values.index(None)
            return mean_over_classes(values, f"class {label} has no two distinct real points, so no scale for ε")
        share = np.linspace(0.0, 1.0, _STEPS + 1)
        curve = np.mean([(part[:, None] <= share).mean(axis=0) for part in known], axis=0)
        details = {"epsilon_share": share.tolist(), "covered": curve.tolist()}
        more = resampling.interval([1.0 - np.minimum(part, 1.0) for part in known], scene.stream)
        return mean_over_classes(values, details=details, **more)


def _in_units_of_scale(points: Points, device: str) -> NDArray[np.float64] | None:
    """Distance of each real point to the nearest other set point, ÷ √(2 tr Σ); None where all real points coincide."""
    import numpy as np

    real_ND = points.real_ND.astype(np.float64) - points.real_ND[0]  # equal points have a variance of exactly 0
    scale = np.sqrt(2.0 * real_ND.var(axis=0, ddof=1).sum()) if len(real_ND) > 1 else 0.0
    return nearest_set_point(points, device, own=False) / scale if scale > 0.0 else None


PLUGIN = EpsilonCoverage()
