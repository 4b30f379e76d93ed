"""Coverage against its definition, where set points are real ones and where distances tie; see also `test_balls`."""

import numpy as np
import pytest

from condhpc import rng
from condhpc.errors import StageError
from condhpc.metrics._balls import BallParams
from condhpc.metrics.base import Measurement, Points, Scene
from condhpc.metrics.coverage import PLUGIN


def measure(real: np.ndarray, chosen: np.ndarray, own: np.ndarray | None = None, k: int = 5) -> Measurement:
    """The measurement of a single class."""
    own = np.full(len(chosen), -1) if own is None else own
    return PLUGIN.compute(Scene([Points(real, chosen, own)]), BallParams(k=k))


def by_definition(real: np.ndarray, chosen: np.ndarray, own: np.ndarray, k: int) -> float:
    """Ball by ball: radius to the k-th nearest other real point; is a set point, not its centre, strictly inside?"""
    hits = 0
    for i, centre in enumerate(real):
        radius = sorted(np.linalg.norm(centre - x) for j, x in enumerate(real) if j != i)[k - 1]
        hits += any(np.linalg.norm(centre - s) < radius for s, o in zip(chosen, own, strict=True) if o != i)
    return hits / len(real)


@pytest.mark.parametrize("seed", range(5))
def test_real_points_do_not_cover_themselves(seed: int) -> None:
    """A coreset counts for the balls of others alone, also mixed with points that are not real ones."""
    draw = rng.stream(seed, "own-test")
    real = draw.normal(2, 1, (60, 4)).astype(np.float32)
    own = np.array([3, 17, 41, 5, -1, -1])
    chosen = np.where(own[:, None] >= 0, real[own], draw.normal(2, 1, (6, 4)).astype(np.float32))
    expected = by_definition(real.astype(float), chosen.astype(float), own, 5)
    assert measure(real, chosen, own).value == pytest.approx(expected, abs=1e-12)


def test_a_point_on_the_sphere_is_outside() -> None:
    """Picked from the reals, a point on its sphere (the k-th neighbour of a centre) is not inside: no close call."""
    real = np.arange(11.0)[:, None]
    found = measure(real, real[[5]], np.array([5]), k=2)
    assert found.value == by_definition(real, real[[5]], np.array([5]), 2) == 0.0
    assert measure(real, real[[5]], np.array([5]), k=3).value == pytest.approx(2 / 11)


def test_rounding_puts_nothing_into_a_ball() -> None:
    """On a lattice with copies, where most distances tie, the value is that of exact integer arithmetic."""
    draw = rng.stream(3, "lattice")
    real, chosen = draw.integers(0, 3, size=(150, 5)), draw.integers(0, 3, size=(12, 5))
    between = ((real[:, None] - real) ** 2).sum(axis=2)
    radii = np.sort(between, axis=1)[:, 5]  # column 0 is the point itself, or a copy of it
    exact = (((real[:, None] - chosen) ** 2).sum(axis=2).min(axis=1) < radii).mean()
    assert 0 < exact < 1
    assert measure(real / 255 - 0.3, chosen / 255 - 0.3).value == exact


def test_a_set_equal_to_the_class_covers_it() -> None:
    """All real points, not told to be their own, cover every ball."""
    real = rng.stream(1, "cover-all").normal(size=(30, 3))
    assert measure(real, real).value == 1.0


def test_classes_too_small() -> None:
    """A class with no k-th other point has no value, the headline has none either, and the reason says why."""
    real = rng.stream(2, "cover-small").normal(size=(9, 3))
    points = [Points(r, real[:2], np.array([-1, -1])) for r in (real, real[:5])]
    found = PLUGIN.compute(Scene(points), BallParams())
    assert found.value is None
    assert found.per_class[0] is not None
    assert found.per_class[1] is None
    assert found.reason == "class 1 has 5 real points, k = 5 needs at least 6"
    assert measure(real[:6], real[:2]).value is not None


def test_not_finite() -> None:
    """A diverged encoder is an error that names the class and the row."""
    real = np.ones((9, 2))
    real[4] = np.nan
    with pytest.raises(StageError, match=r"class 0: 1 of 9 real embeddings .* row 4"):
        measure(real, np.ones((1, 2)))
