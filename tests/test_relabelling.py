"""Recognising a classifier whose outputs stand in another class order."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from condhpc.relabelling import best_relabelling, matching


def classifier(classes: int, count: int, accuracy: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Predictions that are right with this probability, else uniform; and labels."""
    draw = np.random.default_rng(seed)
    labels_N = draw.integers(0, classes, count)
    right_N = draw.random(count) < accuracy
    return np.where(right_N, labels_N, draw.integers(0, classes, count)), labels_N


def best_pct(predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64], classes: int) -> float:
    """Accuracy under the best one-to-one renaming, by scipy."""
    counts_KK = np.zeros((classes, classes))
    np.add.at(counts_KK, (predicted_N, labels_N), 1)
    rows, columns = linear_sum_assignment(-counts_KK)
    return float(100 * counts_KK[rows, columns].sum() / len(labels_N))


@pytest.mark.parametrize(("classes", "count"), [(2, 400), (10, 500), (100, 5000), (1000, 20_000)])
def test_a_permuted_classifier_is_recognised(classes: int, count: int) -> None:
    """The renaming found is the inverse of the permutation, its accuracy the best there is, and it is a mismatch."""
    predicted_N, labels_N = classifier(classes, count, 0.9)
    permutation_K = np.roll(np.arange(classes), 1)
    found = best_relabelling(permutation_K[predicted_N], labels_N, classes)
    assert np.array_equal(found.class_of_output_K, np.argsort(permutation_K))
    assert found.after_pct == pytest.approx(best_pct(permutation_K[predicted_N], labels_N, classes), abs=0.5)
    assert found.before_pct == pytest.approx(100 * np.mean(permutation_K[predicted_N] == labels_N))
    assert found.is_mismatch


@pytest.mark.parametrize("accuracy", [0.0, 0.05, 0.3, 0.95])
@pytest.mark.parametrize(
    ("classes", "count"), [(2, 100), (10, 100), (10, 2000), (100, 100), (1000, 1000), (1000, 20_000)]
)
def test_a_guess_and_a_good_classifier_are_none(classes: int, count: int, accuracy: float) -> None:
    """Neither bad predictions nor right ones look like a wrong order, not even where a class has one test image."""
    for seed in range(5):
        predicted_N, labels_N = classifier(classes, count, accuracy, seed)
        found = best_relabelling(predicted_N, labels_N, classes)
        assert not found.is_mismatch
        assert sorted(found.class_of_output_K.tolist()) == list(range(classes))


@pytest.mark.parametrize(("classes", "in_place"), [(3, 1), (10, 3), (100, 5), (1000, 4)])
def test_classes_that_stay_in_place_hide_nothing(classes: int, in_place: int) -> None:
    """A wrong order leaves some classes where they are: CIFAR-10 at 28 % is as wrong as at 10 %."""
    predicted_N, labels_N = classifier(classes, max(1000, 40 * classes), 0.9)
    permutation_K = np.concatenate([np.arange(in_place), np.roll(np.arange(in_place, classes), 1)])
    found = best_relabelling(permutation_K[predicted_N], labels_N, classes)
    assert found.before_pct == pytest.approx(90 * in_place / classes, abs=3)
    assert found.is_mismatch


def test_classes_that_are_often_confused_are_no_mismatch() -> None:
    """A teacher that takes one class for another more often than not would gain a few points from renaming both."""
    labels_N = np.repeat(np.arange(10), 100)
    predicted_N = labels_N.copy()
    predicted_N[:70], predicted_N[100:160] = 1, 0
    found = best_relabelling(predicted_N, labels_N, 10)
    assert found.class_of_output_K[:2].tolist() == [1, 0]
    assert found.before_pct < found.after_pct
    assert not found.is_mismatch


def test_lumps_of_classes_are_no_mismatch() -> None:
    """An untrained network answers lumps of classes alike: all wrong, three in ten right when renamed, but no order."""
    labels_N = np.repeat(np.arange(10), 100)
    predicted_N = np.array([9, 9, 9, 9, 0, 0, 0, 1, 1, 1])[labels_N]
    found = best_relabelling(predicted_N, labels_N, 10)
    assert (found.before_pct, found.after_pct) == (0, 30)
    assert not found.is_mismatch


def test_the_matching_against_the_best_one() -> None:
    """Greedy reaches at least half of the best matching's count, never more than it, and all of it without rivals."""
    draw = np.random.default_rng(0)
    for classes in (1, 2, 5, 30):
        counts_KK = draw.poisson(1.0, (classes, classes))
        best = counts_KK[linear_sum_assignment(-counts_KK)].sum()
        assert best / 2 <= counts_KK[np.arange(classes), matching(counts_KK)].sum() <= best
        permutation_K = draw.permutation(classes)
        counts_KK[np.arange(classes), permutation_K] += 100
        assert np.array_equal(matching(counts_KK), linear_sum_assignment(-counts_KK)[1])
    assert matching(np.zeros((4, 4), dtype=np.int64)).tolist() == [0, 1, 2, 3]
