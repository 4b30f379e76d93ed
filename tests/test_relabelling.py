"""Recognising a classifier whose outputs stand in another class order."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from condhpc.relabelling import best_relabelling


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
    assert found.after_pct == pytest.approx(best_pct(permutation_K[predicted_N], labels_N, classes))
    assert found.before_pct == pytest.approx(100 * np.mean(permutation_K[predicted_N] == labels_N))
    assert found.is_mismatch


@pytest.mark.parametrize("accuracy", [0.0, 0.05, 0.3, 0.95])
@pytest.mark.parametrize(("classes", "count"), [(2, 100), (10, 100), (10, 2000), (1000, 20_000)])
def test_a_guess_and_a_good_classifier_are_none(classes: int, count: int, accuracy: float) -> None:
    """Neither bad predictions nor right ones look like a wrong order; the greedy matching never beats the best one."""
    for seed in range(5):
        predicted_N, labels_N = classifier(classes, count, accuracy, seed)
        found = best_relabelling(predicted_N, labels_N, classes)
        assert not found.is_mismatch
        assert sorted(found.class_of_output_K.tolist()) == list(range(classes))
        if classes <= 10:
            assert found.after_pct <= best_pct(predicted_N, labels_N, classes) + 1e-9
