"""AuthPct (Alaa et al. 2022): the percentage of set points that are no near-copies of a training image.

A set point is authentic if its nearest training image is closer to another training image than to it. `reference` is
what held-out real images have. A set point that is a training image is taken out of them first, so that a random real
subset is on a par with held-out images instead of at 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics._memory import AgainstHeldOut, heldout_nearest, nearest_real, without_heldout
from condhpc.metrics.base import Measurement, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AuthPct(AgainstHeldOut):
    """Within a class; mean over classes. A tie is no authentic point. No interval: it is a minimum over real points."""

    unit = "percent"
    better = "higher"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        del params
        values: list[float | None] = []
        heldout, reasons = [], []
        spacing, held = _spacing(scene), heldout_nearest(scene)
        for label, points in enumerate(scene.classes):
            reason = without_heldout(label, checked(label, points))
            if reason:
                reasons.append(reason)
                values.append(None)
                continue
            nearest = nearest_real(points, points.set_MD, points.own_M, scene.device)
            values.append(_percent(nearest, points.own_M, spacing[label]))
            heldout.append(_percent(held[label], None, spacing[label]))
        if reasons:
            return mean_over_classes(values, reasons[0])
        return mean_over_classes(values, reference=sum(heldout) / len(heldout))


def _spacing(scene: Scene) -> list[NDArray[np.float64]]:
    """Of each real point the distances to the two nearest others and the row of the nearest, by class, (N, 3)."""
    import numpy as np

    from condhpc import neighbours

    def compute() -> NDArray[np.float64]:
        found = []
        for label, points in enumerate(scene.classes):
            (real,) = neighbours.clouds(checked(label, points).real_ND, device=scene.device)
            near = neighbours.k_nearest_others(real, 2)
            found.append(np.concatenate([near.sq_Qk.sqrt().cpu().numpy(), near.index_Qk[:, :1].cpu().numpy()], axis=1))
        return np.concatenate(found)

    sizes = [len(points.real_ND) for points in scene.classes]
    return np.split(scene.kept("two nearest", compute), np.cumsum(sizes)[:-1])


def _percent(
    nearest_Q2: NDArray[np.float64], own_Q: NDArray[np.int64] | None, spacing_N3: NDArray[np.float64]
) -> float:
    """Percentage whose nearest real point has a nearer neighbour; `own` rows are left out of the neighbours."""
    import numpy as np

    from condhpc.neighbours import TIE

    distance_Q, row_Q = nearest_Q2[:, 0], nearest_Q2[:, 1].astype(np.int64)
    first_Q, second_Q, neighbour_Q = spacing_N3[row_Q].T
    if own_Q is not None:
        first_Q = np.where((own_Q >= 0) & (neighbour_Q == own_Q), second_Q, first_Q)
    return 100.0 * float((first_Q < distance_Q * (1.0 - TIE)).mean())


PLUGIN = AuthPct()
