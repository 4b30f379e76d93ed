"""Quantiles of the covering radius, k-median cost and ε-coverage against distances one by one."""

import numpy as np
import pytest

from condhpc import registry, rng
from condhpc.metrics.base import Measurement, Points, Scene


def measure(name: str, points: list[Points]) -> Measurement:
    """By name, with its default parameters."""
    plugin = registry.load("metrics", name)
    return plugin.compute(Scene(points), plugin.Params())


def some(seed: int) -> list[Points]:
    """Two classes, one with real points in the set."""
    draw = rng.stream(seed, "served")
    found = []
    for count, own in ((40, np.array([3, 30, -1])), (70, np.full(5, -1))):
        real = draw.normal(size=(count, 3)).astype(np.float32)
        new = draw.normal(size=(len(own), 3)).astype(np.float32)
        found.append(Points(real, np.where(own[:, None] >= 0, real[own], new), own))
    return found


def distances(points: Points, *, own: bool = True) -> np.ndarray:
    """Of each real point to the nearest set point."""
    between = np.linalg.norm(points.real_ND.astype(float)[:, None] - points.set_MD.astype(float), axis=2)
    if not own:
        rows = np.flatnonzero(points.own_M >= 0)
        between[points.own_M[rows], rows] = np.inf
    return between.min(axis=1)


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("covering_radius", np.max),
        ("covering_radius_q90", lambda d: np.quantile(d, 0.90)),
        ("covering_radius_q95", lambda d: np.quantile(d, 0.95)),
        ("kmedian_cost", np.mean),
    ],
)
def test_statistics_of_the_nearest_distance(name: str, statistic) -> None:  # type: ignore[no-untyped-def]
    """Per class and their mean; what is in the set serves itself."""
    points = some(0)
    expected = [statistic(distances(p)) for p in points]
    found = measure(name, points)
    assert found.per_class == pytest.approx(expected, rel=1e-9)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert (found.low is None) == (name == "covering_radius")


def test_area_under_the_curve_of_epsilon() -> None:
    """It is the integral of the curve from 0 to the root mean square distance of two real points."""
    points = some(1)
    found = measure("epsilon_coverage", points)
    areas, curves = [], []
    for p in points:
        real = p.real_ND.astype(float)
        pairs = [((a - b) ** 2).sum() for i, a in enumerate(real) for b in real[:i]]
        share = np.linspace(0, 1, 20001)
        covered = (distances(p, own=False)[:, None] <= share * np.sqrt(np.mean(pairs))).mean(axis=0)
        areas.append(np.trapezoid(covered, share))
        curves.append(covered[::1000])
    assert found.per_class == pytest.approx(areas, abs=1e-4)
    assert found.details["covered"] == pytest.approx(np.mean(curves, axis=0), abs=1e-9)
    assert found.details["epsilon_share"] == pytest.approx(np.arange(21) / 20)


def test_epsilon_coverage_of_nothing_but_itself() -> None:
    """A single real image covers no other at ε = 0; copies that are not known as real ones cover all."""
    real = rng.stream(2, "served").normal(size=(12, 2))
    everything = measure("epsilon_coverage", [Points(real, real, np.full(12, -1))])
    assert everything.value == 1.0
    alone = measure("epsilon_coverage", [Points(real, real[:1], np.array([0]))])
    assert alone.details["covered"][0] == 0.0  # type: ignore[index]
    same = measure("epsilon_coverage", [Points(np.ones((4, 2)), np.ones((1, 2)), np.array([-1]))])
    assert same.reason == "class 0 has no two distinct real points, so no scale for ε"
