"""Variance components against textbook formulas and simulated populations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from condhpc.paper import spread
from condhpc.paper.spread import IMAGES, SETS, STUDENTS, Spread


def crossed(values_ST: np.ndarray) -> dict[spread.Seeds, float]:
    """Runs of every set and student."""
    return {(s, t): float(value) for (s, t), value in np.ndenumerate(values_ST)}


def test_students_of_one_set_give_the_standard_error_of_a_mean() -> None:
    """Closed form: s² / n with n − 1 degrees of freedom, over student seeds alone."""
    values = [0.61, 0.64, 0.60, 0.66]
    found = spread.over_seeds({(0, i): value for i, value in enumerate(values)})
    assert found is not None
    assert found.variance == pytest.approx(stats.sem(values) ** 2)
    assert (found.df, found.over) == (3.0, (STUDENTS,))


def test_sets_with_other_students_count_by_their_means() -> None:
    """Students of one set are no independent sets: 2 sets have 1 degree of freedom, however many students they have."""
    found = spread.over_seeds({(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.8, (1, 2): 0.9, (1, 3): 1.0})
    assert found is not None
    assert found.variance == pytest.approx(stats.sem([0.6, 0.9]) ** 2)
    assert (found.df, found.over) == (1.0, (SETS,))


def test_one_run_says_nothing_of_seeds() -> None:
    """No interval is made up from one student."""
    assert spread.over_seeds({(0, 0): 0.5}) is None


def test_crossed_seeds_are_unbiased() -> None:
    """The mean of estimates over many draws is the variance of the mean over these draws, both factors at work."""
    draw = np.random.default_rng(1)
    means, estimates = [], []
    for _ in range(3000):
        values_ST = draw.normal(0, 1.0, (4, 1)) + draw.normal(0, 0.7, (1, 5)) + draw.normal(0, 0.5, (4, 5))
        means.append(values_ST.mean())
        found = spread.over_seeds(crossed(values_ST))
        assert found is not None
        assert found.over == (SETS, STUDENTS)
        estimates.append(found.variance)
    truth = 1.0 / 4 + 0.7**2 / 5 + 0.5**2 / 20
    assert np.var(means) == pytest.approx(truth, rel=0.1)
    assert np.mean(estimates) == pytest.approx(truth, rel=0.05)


def test_sets_that_agree_leave_the_students() -> None:
    """A component that came out below 0 is taken as 0: what remains is the plain variance of student means."""
    values_ST = np.array([[0.1, 0.5, 0.9], [0.12, 0.5, 0.88]])
    found = spread.over_seeds(crossed(values_ST))
    assert found is not None
    assert found.variance == pytest.approx(stats.sem(values_ST.mean(axis=0)) ** 2)
    assert found.df == pytest.approx(2.0)


def test_every_set_weighs_the_same() -> None:
    """A set with more students does not count for more."""
    found = spread.weights([(0, 0), (0, 1), (0, 2), (1, 0)])
    assert found.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_images_of_one_run_are_binomial() -> None:
    """Closed form for one pair of runs: the variance of its differences over images, divided by their number."""
    values_N = np.array([1, 0, 0, -1, 1, 1, 0, 0, 0, 0], dtype=np.int8)
    found = spread.over_images(values_N[None], np.ones(1))
    assert found == pytest.approx(stats.sem(values_N) ** 2)


def test_what_differs_from_run_to_run_is_not_the_images() -> None:
    """Coins thrown anew for every run and image leave nothing to the images; the estimate of it is 0 on average."""
    draw = np.random.default_rng(2)
    plain, net = [], []
    for _ in range(300):
        values_RN = (draw.random((3, 400)) < 0.5).astype(np.int8)
        net.append(spread.over_images(values_RN, np.full(3, 1 / 3)))
        plain.append(values_RN.mean(axis=0).var(ddof=1) / 400)
    assert np.mean(net) < 0.06 * np.mean(plain)


def test_hard_images_are_the_images() -> None:
    """Images that all runs get right or wrong alike: the whole variance is theirs."""
    shared_N = (np.arange(1000) % 4 == 0).astype(np.int8)
    found = spread.over_images(np.stack([shared_N] * 3), np.full(3, 1 / 3))
    assert found == pytest.approx(0.25 * 0.75 / 999, rel=1e-5)


def test_both_sources_add_up() -> None:
    """Variances add; degrees of freedom by Welch and Satterthwaite, as scipy has them for two samples."""
    left, right = [0.4, 0.5, 0.7], [0.1, 0.2, 0.15, 0.3]
    seeds = Spread(stats.sem(left) ** 2, 2.0, (STUDENTS,))
    found = spread.together(seeds, (stats.sem(right) ** 2, 4))
    welch = stats.ttest_ind(left, right, equal_var=False)
    assert found is not None
    assert found.df == pytest.approx(welch.df)
    assert math.sqrt(found.variance) == pytest.approx((np.mean(left) - np.mean(right)) / welch.statistic)
    assert found.over == (STUDENTS, IMAGES)
