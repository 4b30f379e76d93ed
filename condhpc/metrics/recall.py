"""Recall of PRDC (Kynkäänniemi et al. 2019): the share of real points that are in the ball of any set point.

A set point's ball is open and reaches to the k-th nearest other set point, so there must be more than k of them; with
few, balls are huge and the value is close to 1 for any set. A real point is not in the ball of the set point it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._balls import BallMetric, Balls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Recall(BallMetric):
    """Mean over classes; no value where a class has k or fewer set points (or real ones)."""

    set_balls = True

    def of(self, balls: Balls) -> float:
        """Share of real points in a ball."""
        return float(self.contributions(balls).mean())

    def contributions(self, balls: Balls) -> NDArray[np.float64]:
        """1 for a real point in a ball."""
        assert balls.recalled_N is not None
        return balls.recalled_N.astype(float)


PLUGIN = Recall()
