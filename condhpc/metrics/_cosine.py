"""Measures over angles: unit vectors, and nearest ones among them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from condhpc.metrics.base import Measurement, Metric, PooledParams, Scene, checked, mean_over_classes, pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.metrics.base import Points


def units(*arrays: NDArray[np.floating[Any]]) -> list[NDArray[np.float64]]:
    """Rows of norm 1, float64. A zero vector has no direction: all of them get one of their own, on one more axis, so
    that they are equal to each other and at right angles to the rest.
    """
    import numpy as np

    scaled = []
    for vectors_ND in arrays:
        unit_ND = vectors_ND.astype(np.float64)  # where squares of float16 and float32 neither vanish nor overflow
        norm_N1 = np.sqrt(np.einsum("nd,nd->n", unit_ND, unit_ND))[:, None]
        unit_ND /= np.where(norm_N1 > 0.0, norm_N1, 1.0)
        scaled.append((unit_ND, norm_N1 == 0.0))
    if not any(zero_N1.any() for _, zero_N1 in scaled):
        return [unit_ND for unit_ND, _ in scaled]
    return [np.concatenate([unit_ND, zero_N1], axis=1) for unit_ND, zero_N1 in scaled]


def largest_cosines(points: Points, device: str) -> NDArray[np.float64]:
    """Of each set point the cosine to the most similar real point, (M,); the real point that it is does not count.

    NaN where there is no other.
    """
    import numpy as np

    from condhpc import neighbours

    real, chosen = neighbours.clouds(*units(points.real_ND, points.set_MD), device=device)
    skip = neighbours.Skip.own(points.own_M, device).turned()
    sq_M: NDArray[np.float64] = neighbours.k_nearest(chosen, real, 1, skip).sq_Qk[:, 0].cpu().numpy()
    return np.where(np.isfinite(sq_M), 1.0 - sq_M / 2.0, np.nan)


class RealSimilarity(Metric):
    """Cosine to the most similar real point, over set points."""

    Params = PooledParams
    unit = "cosine"
    better = "higher"
    over: Literal["mean", "min"]
    """What is taken over the set points of a class; over classes it is the mean."""

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        values = [self._of(checked(label, points), scene.device) for label, points in enumerate(scene.classes)]
        of_all = self._of(pooled(scene, params.pooled_points), scene.device) if params.pooled_points else None
        reason = ""
        if None in values:
            reason = f"class {values.index(None)} has no real point beside the one in the set"
        return mean_over_classes(values, reason, pooled=of_all)

    def _of(self, points: Points, device: str) -> float | None:
        import numpy as np

        cosine_M = largest_cosines(points, device)
        if np.isnan(cosine_M).any():
            return None
        return float(cosine_M.mean() if self.over == "mean" else cosine_M.min())


class WithinSet(Metric):
    """A measure of pairs of set points of a class."""

    unit = "1 - cosine"
    better = "higher"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        del params
        values: list[float | None] = []
        for label, points in enumerate(scene.classes):
            (unit_MD,) = units(checked(label, points).set_MD)
            values.append(self.of(unit_MD, scene.device) if len(unit_MD) > 1 else None)
        reason = f"class {values.index(None)} has one set point, a pair needs two" if None in values else ""
        return mean_over_classes(values, reason)

    @abstractmethod
    def of(self, unit_MD: NDArray[np.float64], device: str) -> float:
        """Of at least two unit vectors."""
