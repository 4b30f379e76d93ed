"""Student's t against scipy."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from condhpc.intervals import deviation, difference_interval, mean_interval, t_quantile, variance


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_quantile_agrees_with_scipy(df: int, confidence: float) -> None:
    """Ten digits, for odd and even degrees of freedom."""
    assert t_quantile(confidence, df) == pytest.approx(stats.t.ppf((1 + confidence) / 2, df), rel=1e-10)


@pytest.mark.parametrize("df", [1.0001, 1.5, 2.9, 7.25, 33.3, 999.5])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_quantile_of_a_fraction_of_degrees_agrees_with_scipy(df: float, confidence: float) -> None:
    """Ten digits too; Welch's degrees of freedom are seldom whole."""
    assert t_quantile(confidence, df) == pytest.approx(stats.t.ppf((1 + confidence) / 2, df), rel=1e-10)


_VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 9))
"""As records hold them: squares of differences below 1e-154 would be 0."""


@given(st.lists(_VALUES, min_size=2, max_size=40), st.floats(0.0, 1e6))
def test_variance_and_deviation_agree_with_exact_sums(values: list[float], offset: float) -> None:
    """Of any values, also far from 0; equal ones have none at all."""
    moved = [value + offset for value in values]
    size = max(map(abs, moved))
    assert variance(moved) == pytest.approx(statistics.variance(moved), rel=1e-9, abs=1e-25 * size**2)
    assert deviation(moved) == pytest.approx(statistics.stdev(moved), rel=1e-9, abs=1e-12 * size)
    assert variance([offset] * len(values)) == 0.0


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([71.2, 69.8, 70.5], [60.0, 66.0]),
        ([0.0, 1.0], [5.0, 5.5]),
        ([1.0, 2.0, 3.0, 4.0, 50.0], [2.0, 2.0, 2.0]),
        ([3.0, 3.0], [1.0, 2.0, 4.0]),
    ],
)
def test_interval_of_a_difference_agrees_with_scipy(left: list[float], right: list[float]) -> None:
    """Welch's, with unequal numbers and spreads."""
    interval = stats.ttest_ind(left, right, equal_var=False).confidence_interval(0.95)
    assert difference_interval(left, right) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_no_interval_of_a_difference_without_two_spreads() -> None:
    """One value on a side leaves its spread unknown; equal values on both sides give a width of zero."""
    assert difference_interval([1.0], [1.0, 2.0]) is None
    assert difference_interval([1.0, 2.0], []) is None
    assert difference_interval([3.0, 3.0], [1.0, 1.0]) == (2.0, 2.0)


def test_interval_agrees_with_scipy() -> None:
    """The interval of a mean over seeds."""
    values = [71.2, 69.8, 70.5]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((low, high))


def test_no_interval_without_a_spread() -> None:
    """One value or none has no interval; two equal values have one of width zero."""
    assert mean_interval([]) is None
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, 1.0]) == (1.0, 1.0)


@pytest.mark.parametrize(("confidence", "df"), [(0.0, 3), (1.0, 3), (0.95, 0), (math.nan, 3)])
def test_meaningless_arguments_are_refused(confidence: float, df: int) -> None:
    """No interval of certainty, none without degrees of freedom."""
    with pytest.raises(ValueError, match="t quantile"):
        t_quantile(confidence, df)
