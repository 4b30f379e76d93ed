"""Coverage of PRDC (Naeem et al. 2020, eq. 7): the share of real points whose neighbourhood holds a set point.

The neighbourhood of a real point is the open ball that reaches to its k-th nearest other real point. Differs
from the paper where the set is made of real points (coresets): a set point does not count for its own ball.
With few images per class the value is small even for a perfect set (k = 5, 10 of 1,300 points: 3.8 % at most
in expectation), so compare it at equal ipc only, or use `normalised_coverage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._balls import BallMetric, Balls, expected_coverage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Coverage(BallMetric):
    """Mean over classes; no value where a class has k or fewer real points."""

    def of(self, balls: Balls) -> float:
        """Share of balls with a set point in them."""
        return float((balls.set_in_ball_N > 0).mean())

    def contributions(self, balls: Balls) -> NDArray[np.float64]:
        """1 for a ball with a set point in it."""
        return (balls.set_in_ball_N > 0).astype(float)

    def expected(self, balls: Balls) -> float:
        """Of random real points."""
        return expected_coverage(balls)


PLUGIN = Coverage()
