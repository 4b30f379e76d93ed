"""Class-mean error: distance of the set's mean to the real mean ÷ √tr Σ of the real points (what herding optimises).

A random subset of m points has about 1/√m. No interval: with resampled real points their mean moves, and the distance
between two means only grows by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics.base import Measurement, Metric, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ClassMeanError(Metric):
    """Mean over classes; no value where the real points of a class coincide. Pooled: all points as one class."""

    unit = "standard deviations"
    better = "lower"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        del params
        values: list[float | None] = []
        of_all = _Moments()
        for label, points in enumerate(scene.classes):
            checked(label, points)
            of_class = _Moments()
            for moments in (of_class, of_all):
                moments.add(points.real_ND, points.set_MD)
            values.append(of_class.error())
        reason = f"class {values.index(None)} has no two distinct real points" if None in values else ""
        return mean_over_classes(values, reason, pooled=of_all.error())


class _Moments:
    """Mean and total variance of real points, mean of set points, of what was added so far."""

    def __init__(self) -> None:
        self._real = self._set = 0
        self._real_mean: Any = 0.0
        self._set_mean: Any = 0.0
        self._squares = 0.0

    def add(self, real_ND: NDArray[np.floating[Any]], set_MD: NDArray[np.floating[Any]]) -> None:
        """More points (Chan et al. 1979: no difference of large sums)."""
        import numpy as np

        wide_ND = real_ND.astype(np.float64) - real_ND[0]  # equal points have a variance of exactly 0
        mean_D = wide_ND.mean(axis=0)
        within = float(((wide_ND - mean_D) ** 2).sum())
        mean_D += real_ND[0]
        total = self._real + len(real_ND)
        if self._real:
            within += float(((mean_D - self._real_mean) ** 2).sum()) * self._real * len(real_ND) / total
        self._squares += within
        self._real_mean = self._real_mean + (mean_D - self._real_mean) * (len(real_ND) / total)
        self._real = total
        self._set += len(set_MD)
        of_set_D = set_MD.mean(axis=0, dtype=np.float64)
        self._set_mean = self._set_mean + (of_set_D - self._set_mean) * (len(set_MD) / self._set)

    def error(self) -> float | None:
        """Of all that was added; None where there is no variance."""
        import numpy as np

        if self._squares == 0.0:
            return None
        return float(np.linalg.norm(self._set_mean - self._real_mean) / np.sqrt(self._squares / (self._real - 1)))


PLUGIN = ClassMeanError()
