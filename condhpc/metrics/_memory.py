"""Measures of copying: set points and held-out real points, each against the real points of the training split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics.base import Metric, Points, Scene, checked
from condhpc.spec import Need

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AgainstHeldOut(Metric):
    """A measure that also asks for real points of the test split."""

    def needs(self, params: Any) -> dict[str, Need]:
        """Embeddings of both splits by one encoder: roles `heldout` and `embedding`."""
        return {"heldout": Need(stage="embed", source=params.encoder, split="test"), **super().needs(params)}


def without_heldout(label: int, points: Points) -> str:
    """Why a class has nothing to compare with; empty where it has."""
    if points.heldout_HD is None or not len(points.heldout_HD):
        return f"class {label} has no held-out real points"
    return "" if len(points.real_ND) > 2 else f"class {label} has {len(points.real_ND)} real points, needs at least 3"


def nearest_real(
    points: Points, queries_QD: NDArray[Any], own_Q: NDArray[np.int64] | None, device: str
) -> NDArray[Any]:
    """Distance to the nearest real point and its row, (Q, 2) float64; the real point that a query is does not count."""
    import numpy as np

    from condhpc import neighbours

    real, asked = neighbours.clouds(points.real_ND, queries_QD, device=device)
    skip = None if own_Q is None else neighbours.Skip.own(own_Q, device).turned()
    found = neighbours.k_nearest(asked, real, 1, skip)
    return np.stack([found.sq_Qk[:, 0].sqrt().cpu().numpy(), found.index_Qk[:, 0].cpu().numpy()], axis=1)


def heldout_nearest(scene: Scene) -> list[NDArray[np.float64]]:
    """`nearest_real` of the held-out points, by class; they do not depend on the set."""
    import numpy as np

    def compute() -> NDArray[np.float64]:
        found = [
            nearest_real(checked(label, points), points.heldout_HD, None, scene.device)
            for label, points in enumerate(scene.classes)
            if points.heldout_HD is not None
        ]
        return np.concatenate(found) if found else np.zeros((0, 2))

    sizes = [0 if points.heldout_HD is None else len(points.heldout_HD) for points in scene.classes]
    return np.split(scene.kept("nearest of held-out", compute), np.cumsum(sizes)[:-1])
