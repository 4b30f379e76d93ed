"""Student's t intervals, of a mean and of a difference, without scipy: it is too heavy for a login node's tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache


@cache
def t_quantile(confidence: float, df: float) -> float:
    """The t with P(|T| <= t) = `confidence` for `df` degrees of freedom, t = √df · tan θ.

    Newton's steps in θ from 0: the probability is concave there, so they come from below and only get shorter.
    """
    if not (0.0 < confidence < 1.0 and df >= 1):
        raise ValueError(f"t quantile: got confidence {confidence} and df {df}, expected 0 < confidence < 1, df >= 1")
    probability = _sums if df == int(df) else _incomplete_beta
    density_at_0 = 2.0 / math.exp(_log_beta(df))
    theta, last, step = 0.0, math.inf, confidence / density_at_0
    while 0.0 < step < last:
        theta, last = theta + step, step
        step = (confidence - probability(theta, df)) / (density_at_0 * math.cos(theta) ** (df - 1))
    return math.sqrt(df) * math.tan(theta)


def _log_beta(df: float) -> float:
    return math.lgamma(0.5) + math.lgamma(df / 2) - math.lgamma((df + 1) / 2)


def _sums(theta: float, df: float) -> float:
    """P(|T| <= t): finite sums, Abramowitz & Stegun 26.7.3 (odd df) and 26.7.4 (even df)."""
    sin, cos = math.sin(theta), math.cos(theta)
    odd = df % 2 == 1
    term = cos if odd else 1.0
    total = 0.0 if df == 1 else term
    for k in range(2 if odd else 1, int(df) - 2, 2):
        term *= cos * cos * k / (k + 1)
        total += term
    return (theta + sin * total) * 2 / math.pi if odd else sin * total


def _incomplete_beta(theta: float, df: float) -> float:
    """The same for any df: I of sin² θ with 1/2 and df/2, from the side where its fraction converges fast; θ > 0."""
    sin2, cos2, half = math.sin(theta) ** 2, math.cos(theta) ** 2, df / 2
    front = math.exp(math.log(sin2) / 2 + half * math.log(cos2) - _log_beta(df))
    if sin2 < 1.5 / (half + 2.5):
        return front * _beta_fraction(sin2, 0.5, half) / 0.5
    return 1.0 - front * _beta_fraction(cos2, half, 0.5) / half


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), from its end; √(a + b) terms matter."""
    value = 1.0
    for i in range(20 + int(4 * math.sqrt(a + b)), 0, -1):
        m = i // 2
        over = m * (b - m) if i % 2 == 0 else -(a + m) * (a + b + m)
        value = 1.0 + over * x / ((a + i - 1) * (a + i)) / value
    return 1.0 / value


def variance(values: Sequence[float]) -> float:
    """With n − 1, of two values or more; `statistics.variance` is exact, and takes ten times as long."""
    if min(values) == max(values):
        return 0.0  # also where their mean is rounded
    mean = statistics.fmean(values)
    apart = [value - mean for value in values]
    return math.fsum([one * one for one in apart]) / (len(values) - 1)


def deviation(values: Sequence[float]) -> float:
    """Its root."""
    return math.sqrt(variance(values))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean of independent values; None for fewer than two, whose spread nobody knows."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = t_quantile(confidence, len(values) - 1) * deviation(values) / math.sqrt(len(values))
    return mean - half, mean + half


def difference_interval(
    left: Sequence[float], right: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of mean(left) − mean(right) by Welch: spreads may differ; None where a side has fewer than two."""
    if min(len(left), len(right)) < 2:
        return None
    difference = statistics.fmean(left) - statistics.fmean(right)
    of_left, of_right = (variance(values) / len(values) for values in (left, right))
    together = of_left + of_right
    if together == 0.0:
        return difference, difference
    df = together**2 / (of_left**2 / (len(left) - 1) + of_right**2 / (len(right) - 1))
    half = t_quantile(confidence, max(df, 1.0)) * math.sqrt(together)
    return difference - half, difference + half
