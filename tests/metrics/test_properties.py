"""What holds for every set: bounds, what moving and turning all points leaves alone, and that copies add nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc import registry, rng
from condhpc.metrics.base import Measurement, Points, Scene
from condhpc.metrics.vendi import vendi_score

FEW = settings(max_examples=4, deadline=None, derandomize=True)
DISTANCES = (
    "authpct", "class_mean_error", "coverage", "covering_radius", "covering_radius_q90", "density", "epsilon_coverage",
    "frechet", "kmedian_cost", "mmd_rbf", "nn_distance_ratio", "normalised_coverage", "precision", "realism", "recall",
)  # fmt: skip
ANGLES = ("closest_pair", "real_similarity", "vendi", "within_class_distance", "worst_real_similarity")
IN_UNITS = {"covering_radius": 1, "covering_radius_q90": 1, "kmedian_cost": 1, "frechet": 2}


def measure(name: str, points: Points) -> Measurement:
    """By name, with its default parameters."""
    plugin = registry.load("metrics", name)
    return plugin.compute(Scene([points]), plugin.Params())


def some(seed: int, axes: int) -> Points:
    """New points and real ones."""
    draw = rng.stream(seed, "properties")
    own = np.array([3, 11, -1, -1, -1, -1, -1])
    real, new, heldout = (draw.normal(0.4, 1.0, size=(n, axes)) for n in (25, 7, 9))
    return Points(real, np.where(own[:, None] >= 0, real[own], new), own, heldout)


def moved(points: Points, turn: np.ndarray, factor: float, shift: float) -> Points:
    """All points turned, stretched and shifted alike."""
    assert points.heldout_HD is not None
    real, chosen, heldout = (
        (vectors @ turn * factor + shift) for vectors in (points.real_ND, points.set_MD, points.heldout_HD)
    )
    return Points(real, chosen, points.own_M, heldout)


@FEW
@given(seed=st.integers(0, 10**6), axes=st.integers(2, 6), factor=st.floats(0.01, 100), shift=st.floats(-5, 5))
def test_distances_do_not_depend_on_where_one_stands(seed: int, axes: int, factor: float, shift: float) -> None:
    """Turning and shifting all points changes no measure of distances; a stretch is in those with that unit alone."""
    points = some(seed, axes)
    turn, _ = np.linalg.qr(rng.stream(seed, "turn").normal(size=(axes, axes)))
    for name in DISTANCES:
        expected, found = measure(name, points), measure(name, moved(points, turn, factor, factor * shift))
        assert found.value == pytest.approx(expected.value * factor ** IN_UNITS.get(name, 0), rel=1e-6), name  # type: ignore[operator]


@FEW
@given(seed=st.integers(0, 10**6), axes=st.integers(2, 6), factor=st.floats(0.01, 100))
def test_angles_do_not_depend_on_length(seed: int, axes: int, factor: float) -> None:
    """Turning and stretching all points changes no cosine."""
    points = some(seed, axes)
    turn, _ = np.linalg.qr(rng.stream(seed, "turn").normal(size=(axes, axes)))
    for name in ANGLES:
        found = measure(name, moved(points, turn, factor, 0.0)).value
        assert found == pytest.approx(measure(name, points).value, rel=1e-9, abs=1e-12), name


@FEW
@given(seed=st.integers(0, 10**6), axes=st.integers(1, 6))
def test_bounds(seed: int, axes: int) -> None:
    """Shares are shares, a Vendi score is between 1 and the number of points, and a larger set is served no worse."""
    points = some(seed, axes)
    for name in ("coverage", "precision", "recall", "epsilon_coverage"):
        assert 0.0 <= (measure(name, points).value or 0.0) <= 1.0, name
    assert 1.0 - 1e-9 <= (measure("vendi", points).value or 0.0) <= 7.0 + 1e-9
    fewer = Points(points.real_ND, points.set_MD[:-1], points.own_M[:-1], points.heldout_HD)
    for name in ("covering_radius", "covering_radius_q90", "covering_radius_q95", "kmedian_cost"):
        assert measure(name, points).value <= measure(name, fewer).value, name  # type: ignore[operator]
    for name in ("coverage", "epsilon_coverage"):
        assert measure(name, points).value >= measure(name, fewer).value, name  # type: ignore[operator]


@FEW
@given(seed=st.integers(0, 10**6), times=st.integers(2, 4))
def test_copies_of_set_points_add_nothing(seed: int, times: int) -> None:
    """Coverage, radii and the Vendi score of a set whose points are all there several times are those of the set."""
    points = some(seed, 3)
    copied = Points(points.real_ND, np.tile(points.set_MD, (times, 1)), np.tile(points.own_M, times), points.heldout_HD)
    for name in ("coverage", "covering_radius", "density", "kmedian_cost", "precision", "realism", "real_similarity"):
        assert measure(name, copied).value == pytest.approx(measure(name, points).value, rel=1e-12), name
    assert vendi_score(copied.set_MD) == pytest.approx(vendi_score(points.set_MD), rel=1e-9)
    assert measure("closest_pair", copied).value == 0.0
