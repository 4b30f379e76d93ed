"""Precision of PRDC (Kynkäänniemi et al. 2019): the share of set points that are in the ball of any real point.

A ball is open and reaches to the k-th nearest other real point. The ball of the very real point that a set point is
does not count, else every coreset would have 1. No interval: fewer distinct real points mean fewer balls, so that a
resampled value is biased.
"""

from __future__ import annotations

from condhpc.metrics._balls import BallMetric, Balls


class Precision(BallMetric):
    """Mean over classes; no value where a class has k or fewer real points."""

    def of(self, balls: Balls) -> float:
        """Share of set points in a ball."""
        return float((balls.balls_of_M > 0).mean())


PLUGIN = Precision()
