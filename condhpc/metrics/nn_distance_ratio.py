"""Nearest-neighbour distance ratio: how far set points are from training images, ÷ how far held-out real images are.

Well below 1 means copies of training images; 1 is what new real images have, and above 1 is no merit of its own. A set
point that is a training image looks at the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics._memory import AgainstHeldOut, heldout_nearest, nearest_real, without_heldout
from condhpc.metrics.base import Measurement, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NearestDistanceRatio(AgainstHeldOut):
    """Of mean distances to the nearest training image of the class, mean over classes; 1 is the reference.

    The interval resamples held-out images.
    """

    unit = "ratio"
    better = "higher"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        del params
        values: list[float | None] = []
        of_set, of_heldout, reasons = [], [], []
        for label, (points, held) in enumerate(zip(scene.classes, heldout_nearest(scene), strict=True)):
            reason = without_heldout(label, checked(label, points))
            if not reason and not held[:, 0].any():
                reason = f"class {label}: every held-out image is a training image, so there is nothing to divide by"
            if reason:
                values.append(None)
                reasons.append(reason)
                continue
            of_set.append(float(nearest_real(points, points.set_MD, points.own_M, scene.device)[:, 0].mean()))
            of_heldout.append(held[:, 0])
            values.append(of_set[-1] / float(held[:, 0].mean()))
        if reasons:
            return mean_over_classes(values, reasons[0])
        return mean_over_classes(values, reference=1.0, **_interval(of_set, of_heldout, scene))


def _interval(of_set: list[float], of_heldout: list[NDArray[np.float64]], scene: Scene) -> dict[str, Any]:
    """Of set distance ÷ mean of the held-out ones: in units of the former it is one statistic for all classes.

    None where so many held-out images are training images that those drawn may be these alone.
    """
    import numpy as np

    from condhpc import resampling

    parts = [
        held_H / mean if mean > 0.0 else np.full(len(held_H), np.inf)
        for mean, held_H in zip(of_set, of_heldout, strict=True)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = resampling.interval(parts, scene.stream, lambda drawn_bH: 1.0 / drawn_bH.mean(axis=1))
    if not np.isfinite(found["high"]):
        return {}
    return {**found, "interval_over": "held-out real points"}


PLUGIN = NearestDistanceRatio()
