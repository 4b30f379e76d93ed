"""k-median cost: mean distance of a real image to the nearest set point (the facility-location objective)."""

from __future__ import annotations

from typing import Any

from condhpc.metrics._served import distances
from condhpc.metrics.base import Measurement, Metric, Scene, mean_over_classes


class KMedianCost(Metric):
    """Euclidean, within a class; mean over classes. A real image in the set costs 0."""

    unit = "distance"
    better = "lower"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        from condhpc import resampling

        del params
        parts = list(distances(scene))
        return mean_over_classes(
            [float(distance_N.mean()) for distance_N in parts], **resampling.interval(parts, scene.stream)
        )


PLUGIN = KMedianCost()
