"""Density of PRDC (Naeem et al. 2020, eq. 5): in how many real points' balls a set point is, ÷ k; may exceed 1.

A ball is open and reaches to the k-th nearest other real point; a set point that is a real one does not count for its
own. New draws from the real distribution have 1 in expectation, real points (k − 1)/k, because balls are open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._balls import BallMetric, Balls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Density(BallMetric):
    """Mean over classes; no value where a class has k or fewer real points."""

    unit = "ratio"

    def of(self, balls: Balls) -> float:
        """Mean number of balls ÷ k."""
        return float(balls.balls_of_M.mean()) / balls.k

    def contributions(self, balls: Balls) -> NDArray[np.float64]:
        """By the real point whose ball it is."""
        scale = len(balls.set_in_ball_N) / (balls.k * len(balls.balls_of_M))
        return balls.set_in_ball_N.astype(float) * scale

    def expected(self, balls: Balls) -> float:
        """Of random real points: 1, and (k − 1)/k where they are in the training split."""
        count = len(balls.balls_of_M)
        return 1.0 - (count - balls.new) / (balls.k * count)


PLUGIN = Density()
