"""Covering radius: how far the worst-served real image is from the condensed set (the k-center objective)."""

from __future__ import annotations

from typing import Any

from condhpc.metrics._served import distances
from condhpc.metrics.base import Measurement, Metric, Scene, mean_over_classes


class CoveringRadius(Metric):
    """Per class max over real points of the Euclidean distance to the nearest set point; mean over classes.

    No interval: a bootstrap of a maximum has no meaning.
    """

    unit = "distance"
    better = "lower"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        del params
        return mean_over_classes(float(distance_N.max()) for distance_N in distances(scene))


PLUGIN = CoveringRadius()
