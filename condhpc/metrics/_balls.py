"""Measures over balls around real points (and set points), after Naeem et al. 2020 (PRDC)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from condhpc.metrics.base import Measurement, Metric, Points, PooledParams, Scene, checked, mean_over_classes, pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BallParams(PooledParams, frozen=True):
    """Parameters of measures over balls."""

    k: Annotated[int, Meta(ge=1, description="which nearest other point bounds a ball")] = 5


class Balls(NamedTuple):
    """Who is in whose ball: N real and M set points."""

    k: int
    own: int
    """Distinct real points in the set."""
    new: int
    """Set points that are none."""
    set_in_ball_N: NDArray[np.int64]
    balls_of_M: NDArray[np.int64]
    recalled_N: NDArray[np.bool_] | None
    """Real points in the ball of a set point; None where not asked for."""


class BallMetric(Metric):
    """Balls are open and reach to the k-th nearest other point of their kind; a set point that is a real one counts
    neither for its own ball nor for itself. Mean over classes; balls stay as they are where real points are resampled.
    """

    Params = BallParams
    unit = "fraction"
    better = "higher"
    set_balls = False
    """Whether set points have balls too."""

    @abstractmethod
    def of(self, balls: Balls) -> float | None:
        """The value of one class, or of all as one; None where it has no meaning."""

    def contributions(self, balls: Balls) -> NDArray[np.float64] | None:
        """What each real point adds: their mean is the value; None where there are no such shares."""
        del balls
        return None

    def expected(self, balls: Balls) -> float | None:
        """What random real points in the place of the set's would have; None where it is not known."""
        del balls
        return None

    def no_meaning(self, label: int, balls: Balls) -> str:
        """Why a class with balls has no value."""
        return f"class {label} has {balls.own + balls.new} set points, for which this measure has no meaning"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        from condhpc import resampling

        values, parts, expected, reasons = [], [], [], []
        for label, found in enumerate(_of_classes(scene, params.k, set_balls=self.set_balls)):
            value = found if isinstance(found, str) else self.of(found)
            values.append(value if isinstance(value, float) else None)
            if isinstance(found, str):
                reasons.append(found)
            elif value is None:
                reasons.append(self.no_meaning(label, found))
            else:
                parts.append(self.contributions(found))
                expected.append(self.expected(found))
        more: dict[str, Any] = {"pooled": self._pooled(scene, params)}
        known = [part for part in parts if part is not None]
        if not reasons and len(known) == len(values):
            more |= resampling.interval(known, scene.stream)
        fair = [value for value in expected if value is not None]
        if not reasons and len(fair) == len(values):
            more["reference"] = sum(fair) / len(fair)
        return mean_over_classes(values, reasons[0] if reasons else "", **more)

    def _pooled(self, scene: Scene, params: Any) -> float | None:
        if not params.pooled_points:
            return None
        points = pooled(scene, params.pooled_points)
        if min(len(points.real_ND), len(points.set_MD) if self.set_balls else params.k + 1) <= params.k:
            return None
        radius_sq_N = pooled_radii_sq(scene, points, params)
        return self.of(_count(points, radius_sq_N, params.k, scene.device, set_balls=self.set_balls))


def real_radii_sq(scene: Scene, k: int) -> list[NDArray[np.float64]]:
    """Squared radii of the real points' balls, by class; NaN in classes of k points or fewer."""
    import numpy as np

    sizes = [len(points.real_ND) for points in scene.classes]

    def compute() -> NDArray[np.float64]:
        found = (_radius_sq(checked(label, points), k, scene.device) for label, points in enumerate(scene.classes))
        return np.concatenate(list(found))

    return np.split(scene.kept(f"radius_sq k={k}", compute), np.cumsum(sizes)[:-1])


def too_small(label: int, points: Points, k: int) -> str:
    """Why real points have no balls; empty where they have."""
    count = len(points.real_ND)
    return f"class {label} has {count} real points, k = {k} needs at least {k + 1}" if count <= k else ""


def _of_classes(scene: Scene, k: int, *, set_balls: bool) -> list[Balls | str]:
    """Balls of each class, or why it has none."""
    found: list[Balls | str] = []
    for label, (points, radius_sq_N) in enumerate(zip(scene.classes, real_radii_sq(scene, k), strict=True)):
        checked(label, points)
        reason = too_small(label, points, k)
        if not reason and set_balls and len(points.set_MD) <= k:
            reason = f"class {label} has {len(points.set_MD)} set points, k = {k} needs at least {k + 1}"
        found.append(reason or _count(points, radius_sq_N, k, scene.device, set_balls=set_balls))
    return found


def pooled_radii_sq(scene: Scene, points: Points, params: BallParams) -> NDArray[np.float64]:
    """Squared radii of the balls of a pool of real points."""
    name = f"radius_sq pooled={params.pooled_points} k={params.k}"
    return scene.kept(name, lambda: _radius_sq(points, params.k, scene.device))


def _radius_sq(points: Points, k: int, device: str) -> NDArray[np.float64]:
    import numpy as np

    from condhpc import neighbours

    if len(points.real_ND) <= k:
        return np.full(len(points.real_ND), np.nan)
    (real,) = neighbours.clouds(points.real_ND, device=device)
    found: NDArray[np.float64] = neighbours.k_nearest_others(real, k).sq_Qk[:, -1].cpu().numpy()
    return found


def _count(points: Points, radius_sq_N: NDArray[np.float64], k: int, device: str, *, set_balls: bool) -> Balls:
    import numpy as np
    import torch

    from condhpc import balls, neighbours

    real, chosen = neighbours.clouds(points.real_ND, points.set_MD, device=device)
    set_radius_sq_M = neighbours.k_nearest_others(chosen, k).sq_Qk[:, -1] if set_balls else None
    radius_sq = torch.from_numpy(np.array(radius_sq_N)).to(device)
    skip = neighbours.Skip.own(points.own_M, device)
    found = balls.count_in_balls(real, chosen, radius_sq, skip, set_radius_sq_M)
    recalled_N = None if found.recalled_N is None else found.recalled_N.cpu().numpy()
    own, new = len(np.unique(points.own_M[points.own_M >= 0])), int((points.own_M < 0).sum())
    return Balls(k, own, new, found.set_in_ball_N.cpu().numpy(), found.balls_of_M.cpu().numpy(), recalled_N)


def expected_coverage(balls: Balls) -> float:
    """Coverage in expectation if the `own` set points were a random subset of the N real ones, the others new draws.

    A ball holds k − 1 real points beside its centre: a subset of m misses them with C(N−k+1, m) / C(N, m). It holds
    none of n new points if the k nearest of N − 1 + n are all real: Π_{j=1..k} (N−j) / (n+N−j). Which real points were
    chosen tells nothing of where new ones fall, so a mixed set misses with the product.
    """
    real, missed = len(balls.set_in_ball_N), 1.0
    for j in range(balls.k - 1):
        missed *= max(0, real - balls.own - j) / (real - j)
    for j in range(1, balls.k + 1):
        missed *= (real - j) / (balls.new + real - j)
    return 1.0 - missed
