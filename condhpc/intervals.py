"""Student's t intervals without scipy, which is too heavy for a login node's tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache


@cache
def t_quantile(confidence: float, df: int) -> float:
    """The t with P(|T| <= t) = `confidence` for `df` degrees of freedom, by bisection on the exact probability."""
    if not (0.0 < confidence < 1.0 and df >= 1):
        raise ValueError(f"t quantile: got confidence {confidence} and df {df}, expected 0 < confidence < 1, df >= 1")
    low, high = 0.0, math.pi / 2
    while True:
        middle = (low + high) / 2
        if middle in {low, high}:
            return math.sqrt(df) * math.tan(middle)
        if _central_probability(middle, df) < confidence:
            low = middle
        else:
            high = middle


def _central_probability(theta: float, df: int) -> float:
    """P(|T| <= t) with t = √df · tan θ: finite sums, Abramowitz & Stegun 26.7.3 (odd df) and 26.7.4 (even df)."""
    sin, cos = math.sin(theta), math.cos(theta)
    odd = df % 2 == 1
    term = cos if odd else 1.0
    total = 0.0 if df == 1 else term
    for k in range(2 if odd else 1, df - 2, 2):
        term *= cos * cos * k / (k + 1)
        total += term
    return (theta + sin * total) * 2 / math.pi if odd else sin * total


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean of independent values; None for fewer than two, whose spread nobody knows."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = t_quantile(confidence, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half
