"""What measures share: the pool of all classes, the mean over them."""

import numpy as np
import pytest

from condhpc.metrics.base import Points, Scene, mean_over_classes, pooled


def scene() -> Scene:
    """Two classes of 6 and 4 real points, told apart by their values."""
    first = Points(np.arange(6.0)[:, None], np.array([[2.0], [9.5]]), np.array([2, -1]))
    second = Points(np.arange(10.0, 14.0)[:, None], np.array([[13.0], [10.0]]), np.array([3, 0]))
    return Scene([first, second])


def test_a_pool_of_all_points() -> None:
    """Nothing is drawn where all fit; rows of real points move with their class."""
    found = pooled(scene(), 10)
    assert found.real_ND[:, 0].tolist() == [*range(6), *range(10, 14)]
    assert found.set_MD[:, 0].tolist() == [2.0, 9.5, 13.0, 10.0]
    assert found.own_M.tolist() == [2, -1, 9, 6]


def test_a_pool_of_some_points() -> None:
    """The same for every set; a set point whose real point was not drawn is as good as new."""
    found = pooled(scene(), 4)
    real = found.real_ND[:, 0]
    assert len(set(real.tolist())) == 4
    assert real.tolist() == sorted(real) == pooled(scene(), 4).real_ND[:, 0].tolist()
    for value, own in zip(found.set_MD[:, 0], found.own_M, strict=True):
        assert (real[own] == value) if own >= 0 else (value not in real)
    counts = [pooled(scene(), count).own_M.tolist().count(-1) for count in (1, 4, 10)]
    assert counts[0] >= 3
    assert counts[2] == 1


def test_no_headline_without_all_classes() -> None:
    """A mean over some classes would be another measure: value and interval go, what else is known stays."""
    found = mean_over_classes([1.0, None], "why", pooled=2.0, low=0.0, high=3.0, interval_over="real points")
    assert (found.value, found.reason, found.pooled, found.low, found.interval_over) == (None, "why", 2.0, None, "")
    assert mean_over_classes([1.0, 2.0]).value == pytest.approx(1.5)
