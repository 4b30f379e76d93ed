"""Coverage (PRDC) ÷ its expectation for as many real points at random: 1 is as good as random, at any ipc.

Raw coverage cannot exceed a few percent at low ipc, whatever the set. The expectation is exact, not sampled, and knows
which set points are real ones (see `expected_coverage`); of all classes as one it holds for classes of equal size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._balls import BallMetric, Balls, expected_coverage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NormalisedCoverage(BallMetric):
    """Mean over classes. No value where random real points cover nothing: real ones at k = 1."""

    unit = "ratio"

    def of(self, balls: Balls) -> float | None:
        """Share of balls with a set point in them ÷ what is expected of that."""
        expected = expected_coverage(balls)
        return float((balls.set_in_ball_N > 0).mean()) / expected if expected > 0.0 else None

    def contributions(self, balls: Balls) -> NDArray[np.float64] | None:
        """Of each ball."""
        expected = expected_coverage(balls)
        return (balls.set_in_ball_N > 0) / expected if expected > 0.0 else None

    def expected(self, balls: Balls) -> float:
        """1, by construction."""
        del balls
        return 1.0

    def no_meaning(self, label: int, balls: Balls) -> str:
        """An open ball that reaches to the nearest other real point holds no real point but its centre."""
        return f"class {label}: at k = {balls.k} a random real subset covers nothing, so there is nothing to divide by"


PLUGIN = NormalisedCoverage()
