"""A cell over its seeds."""

from __future__ import annotations

import pytest
from scipy import stats

from condhpc.cell_statistics import Evaluation, cell_statistics


def test_interval_needs_two_independent_values() -> None:
    """One evaluation has a mean and nothing else; students of one set give an interval over students only."""
    one = cell_statistics([Evaluation(0, 50.0)])
    assert (one.n, one.mean, one.sd, one.low, one.over) == (1, 50.0, None, None, "")
    students = cell_statistics([Evaluation(None, v) for v in (50.0, 52.0, 54.0)])
    low, high = stats.t.interval(0.95, 2, loc=52.0, scale=stats.sem([50.0, 52.0, 54.0]))
    assert (students.low, students.high) == pytest.approx((low, high), abs=1e-6)
    assert students.over == "student_seed"


def test_many_students_of_two_sets_do_not_pretend_to_be_many_sets() -> None:
    """The interval comes from two set means, however many students each set has; each set weighs the same."""
    found = cell_statistics([Evaluation(0, 50.0)] * 9 + [Evaluation(1, 60.0)])
    low, high = stats.t.interval(0.95, 1, loc=55.0, scale=stats.sem([50.0, 60.0]))
    assert (found.mean, found.low, found.high) == pytest.approx((55.0, low, high), abs=1e-6)
