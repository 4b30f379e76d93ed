"""Fréchet distance (FID in the features of any encoder) of all classes as one, beside a real subset of the same size.

Between Gaussians fitted to all real points and to the set. It is biased, and more so the smaller the set is, so compare
it with `reference`: that of as many real points per class, drawn at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics.base import Measurement, Metric, Scene, checked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_AXES = 8192
"""A covariance of more axes than that is larger than 0.5 GiB and takes hours."""


class Frechet(Metric):
    """Pooled only: a class has too few points for a covariance. No interval: an eigenvalue problem per draw."""

    unit = "distance²"
    better = "lower"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes at once. Raises StageError where a point is not finite."""
        import numpy as np

        from condhpc import gaussians

        del params
        chosen = [checked(label, points).set_MD for label, points in enumerate(scene.classes)]
        set_MD, none = np.concatenate(chosen), (None,) * len(chosen)
        real = sum(len(points.real_ND) for points in scene.classes)
        reason = _no_meaning(real, *set_MD.shape)
        if reason:
            return Measurement(value=None, per_class=none, reason=reason)
        held = scene.kept("gaussian", lambda: _fitted(scene))
        gaussian = gaussians.Gaussian.unstacked(held)
        value = gaussians.frechet(gaussian, set_MD, scene.device)
        sizes = [len(points) for points in chosen]
        (reference,) = scene.kept(
            f"frechet of random real points, per class {_short(sizes)}",
            lambda: np.array([gaussians.frechet(gaussian, _drawn(scene, sizes), scene.device)]),
        )
        return Measurement(value=value, per_class=none, pooled=value, reference=float(reference))


def _no_meaning(real: int, count: int, axes: int) -> str:
    if min(real, count) < 2:
        return f"{real} real and {count} set points, a covariance needs two of each"
    if axes > _MOST_AXES:
        return f"{axes} axes, a covariance is computed for up to {_MOST_AXES}; choose a teacher's features"
    return ""


def _fitted(scene: Scene) -> NDArray[np.float64]:
    from condhpc import gaussians

    return gaussians.fitted(lambda: (points.real_ND for points in scene.classes), scene.device).stacked()


def _short(sizes: list[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else str(sizes)


def _drawn(scene: Scene, sizes: list[int]) -> NDArray[np.floating[Any]]:
    """Real points of each class at random, as many as the set has, or all."""
    import numpy as np

    drawn = []
    for label, (points, size) in enumerate(zip(scene.classes, sizes, strict=True)):
        count = len(points.real_ND)
        chosen = scene.stream("reference", label).choice(count, size=min(size, count), replace=False)
        drawn.append(points.real_ND[chosen])
    return np.concatenate(drawn)


PLUGIN = Frechet()
