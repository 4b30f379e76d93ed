"""Measures over the distance of each real point to the nearest set point of its class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from condhpc.metrics.base import Measurement, Metric, Points, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def distances(scene: Scene) -> Iterator[NDArray[np.float64]]:
    """By class: (N,), by differences in float64. A real point in the set is served by itself, at distance 0.

    There is nothing to pool: a set point of another class serves nobody.
    """
    for label, points in enumerate(scene.classes):
        yield nearest_set_point(checked(label, points), scene.device, own=True)


def nearest_set_point(points: Points, device: str, *, own: bool) -> NDArray[np.float64]:
    """(N,); without `own` a real point in the set looks at the other set points, inf where there is none."""
    from condhpc import neighbours

    real, chosen = neighbours.clouds(points.real_ND, points.set_MD, device=device)
    skip = None if own else neighbours.Skip.own(points.own_M, device)
    found: NDArray[np.float64] = neighbours.k_nearest(real, chosen, 1, skip).sq_Qk[:, 0].sqrt().cpu().numpy()
    return found


class ServedQuantile(Metric):
    """Per class a quantile over real points of the distance to the nearest set point; mean over classes."""

    unit = "distance"
    better = "lower"
    quantile: ClassVar[float]

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        import numpy as np

        from condhpc import resampling

        del params
        parts = list(distances(scene))
        values = [float(np.quantile(distance_N, self.quantile)) for distance_N in parts]
        more = resampling.interval(parts, scene.stream, lambda drawn_bN: np.quantile(drawn_bN, self.quantile, axis=1))
        return mean_over_classes(values, **more)
