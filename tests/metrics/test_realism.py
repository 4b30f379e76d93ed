"""Realism against its definition."""

import numpy as np
import pytest

from condhpc import rng
from condhpc.metrics._balls import BallParams
from condhpc.metrics.base import Points, Scene
from condhpc.metrics.realism import PLUGIN


def by_definition(real: np.ndarray, chosen: np.ndarray, own: np.ndarray, k: int) -> float:
    """Set point by set point."""
    radii = [sorted(np.linalg.norm(x - z) for j, z in enumerate(real) if j != i)[k - 1] for i, x in enumerate(real)]
    small = [i for i, radius in enumerate(radii) if radius < np.median(radii)]
    ratios = [
        max(radii[i] / np.linalg.norm(s - real[i]) for i in small if i != o) for s, o in zip(chosen, own, strict=True)
    ]
    return float(np.mean(ratios))


@pytest.mark.parametrize("k", [1, 5])
def test_agrees_with_the_definition(k: int) -> None:
    """Coresets, new points and both; per class and of all as one."""
    draw = rng.stream(k, "realism")
    points = []
    for own in (np.array([3, 9, 20, -1]), np.full(4, -1)):
        real = draw.normal(size=(31, 3))
        points.append(Points(real, np.where(own[:, None] >= 0, real[own], draw.normal(size=(4, 3))), own))
    found = PLUGIN.compute(Scene(points), BallParams(k=k))
    expected = [by_definition(p.real_ND, p.set_MD, p.own_M, k) for p in points]
    assert found.per_class == pytest.approx(expected, rel=1e-9)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-9)
    real, chosen = (np.concatenate([getattr(p, name) for p in points]) for name in ("real_ND", "set_MD"))
    own = np.concatenate([points[0].own_M, points[1].own_M])
    assert found.pooled == pytest.approx(by_definition(real, chosen, own, k), rel=1e-9)


def test_a_set_point_on_a_real_one() -> None:
    """It is infinitely realistic, which is no number; the reason says what to do."""
    real = rng.stream(0, "realism").normal(size=(20, 2))
    found = PLUGIN.compute(Scene([Points(real, real, np.full(20, -1))]), BallParams())
    assert found.value is None
    assert "coincides with a real point" in found.reason
    assert found.reason.startswith("class 0: ")
    assert "needs its source index" in found.reason


def test_balls_of_one_size() -> None:
    """None is below the median."""
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    found = PLUGIN.compute(Scene([Points(corners, corners[:1] + 0.1, np.array([-1]))]), BallParams(k=1))
    assert found.value is None
    assert "class 0: no real point has a ball below the median" in found.reason


def test_balls_of_one_size_but_for_rounding() -> None:
    """Corners of a regular polygon have equal balls, although their radii differ in the last bits."""
    angle = np.arange(12) * 2 * np.pi / 12
    corners = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    gaps = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    assert gaps.min() < gaps.max()
    found = PLUGIN.compute(Scene([Points(corners, np.zeros((1, 2)), np.array([-1]))]), BallParams(k=1))
    assert (found.value, found.pooled) == (None, None)
