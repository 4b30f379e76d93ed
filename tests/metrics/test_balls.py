"""Precision, recall, density and coverage against the authors' package, and their expectations against draws."""

from __future__ import annotations

import numpy as np
import pytest

from condhpc import neighbours, registry, rng
from condhpc.metrics._balls import BallParams, Balls, _count, _radius_sq, expected_coverage
from condhpc.metrics.base import Measurement, Points, Scene

PRDC = ("precision", "recall", "density", "coverage")


def measure(name: str, points: list[Points], k: int = 5, **params: int) -> Measurement:
    """By name."""
    return registry.load("metrics", name).compute(Scene(points), BallParams(k=k, **params))


def new(real: np.ndarray, chosen: np.ndarray) -> Points:
    """A set of which no point is a real one."""
    return Points(real, chosen, np.full(len(chosen), -1))


def own(real: np.ndarray, rows: np.ndarray) -> Points:
    """A coreset."""
    return Points(real, real[rows], rows)


@pytest.mark.parametrize(("k", "block"), [(1, 33), (5, 64), (5, 2048), (12, 2048)])
def test_agrees_with_prdc(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], k: int, block: int
) -> None:
    """Per class, and of all as one, where no set point is a real one."""
    from prdc import compute_prdc

    monkeypatch.setattr(neighbours, "BLOCK", block)
    draw = rng.stream(k, "prdc")
    points = [new(draw.normal(2, 1, (90, 7)), draw.normal(2.3, 1.1, (25, 7))) for _ in range(2)]
    of_class = [compute_prdc(p.real_ND, p.set_MD, nearest_k=k) for p in points]
    everything = compute_prdc(
        np.concatenate([p.real_ND for p in points]), np.concatenate([p.set_MD for p in points]), nearest_k=k
    )
    for name in PRDC:
        found = measure(name, points, k)
        assert found.per_class == pytest.approx([values[name] for values in of_class], abs=1e-12), name
        assert found.pooled == pytest.approx(everything[name], abs=1e-12), name
        assert sum(values[name] for values in of_class) > 0, name


@pytest.mark.parametrize("name", PRDC)
def test_a_copy_of_a_real_point_that_is_known_as_one_is_left_out(name: str) -> None:
    """A set point that sits on a real one counts for that point's ball only if it is not that point."""
    draw = rng.stream(0, "own")
    real = draw.normal(size=(60, 4))
    real[0] = 20.0  # in no ball but its own
    rows = np.arange(0, 60, 7)
    copies, known = measure(name, [new(real, real[rows])]).value, measure(name, [own(real, rows)]).value
    assert copies is not None
    assert known is not None
    if name == "precision":
        assert copies == 1.0
    assert known < copies


@pytest.mark.parametrize("name", ["coverage", "density"])
@pytest.mark.parametrize(("rows", "news"), [(6, 0), (0, 6), (4, 3)])
def test_reference_is_what_random_points_have(name: str, rows: int, news: int) -> None:
    """Over draws of real points, new points and both: the mean value is the reference, which is computed, not drawn."""
    draw, plugin = rng.stream(rows, "expected", name), registry.load("metrics", name)
    values, reference = [], 0.0
    for _ in range(80):
        real = draw.normal(size=(24, 2))
        chosen = draw.choice(24, size=rows, replace=False)
        all_rows = np.concatenate([chosen, np.full(news, -1)])
        points = Points(real, np.concatenate([real[chosen], draw.normal(size=(news, 2))]), all_rows)
        balls = _count(points, _radius_sq(points, 3, "cpu"), 3, "cpu", set_balls=False)
        values.append(plugin.of(balls))
        reference = plugin.expected(balls)
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - reference) < 3.0 * error
    assert error < 0.15 * reference


@pytest.mark.parametrize(("real", "own_points", "news"), [(40, 7, 0), (40, 0, 7), (40, 5, 9), (12, 9, 2), (10, 10, 0)])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_expected_coverage_by_ranks(real: int, own_points: int, news: int, k: int) -> None:
    """Distances enter by their order alone, so drawing orders is enough: no set point among the k − 1 real ones in the
    ball, and no new point before the k-th real one.
    """
    draw, rounds = rng.stream(real + k, "ranks"), 4000
    keys = draw.random((rounds, real - 1 + news))  # order of the others around one centre; real ones first
    radius = np.sort(keys[:, : real - 1], axis=1)[:, k - 1 : k]
    inside = keys < radius
    chosen = draw.random((rounds, real)).argsort(axis=1) < own_points  # a random subset; the last is the centre
    covered = (inside[:, : real - 1] & chosen[:, : real - 1]).any(axis=1) | inside[:, real - 1 :].any(axis=1)
    zeros = np.zeros(real, dtype=np.int64)
    balls = Balls(k, own_points, news, zeros, np.zeros(own_points + news, dtype=np.int64), None)
    expected = expected_coverage(balls)
    assert covered.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / rounds) + 1e-12)


def test_known_limits_of_coverage() -> None:
    """Ten new points among 1,300 cannot be expected to cover more than 3.8 % at k = 5."""
    zeros = np.zeros(1300, dtype=np.int64)
    assert expected_coverage(Balls(5, 0, 10, zeros, zeros[:10], None)) == pytest.approx(0.038, abs=5e-4)
    assert expected_coverage(Balls(5, 10, 0, zeros, zeros[:10], None)) == pytest.approx(0.0304, abs=5e-4)


def test_normalised_coverage_is_coverage_over_its_reference() -> None:
    """Per class; the interval is scaled alike, and 1 is what random points have."""
    draw = rng.stream(2, "normalised")
    points = [own(draw.normal(size=(n, 3)), np.arange(0, n, 9)) for n in (60, 80)]
    raw, found = measure("coverage", points), measure("normalised_coverage", points)
    singles = [measure("coverage", [p]) for p in points]
    expected = [(one.value or 0.0) / (one.reference or 1.0) for one in singles]
    assert found.per_class == pytest.approx(expected, rel=1e-12)
    assert found.reference == 1.0
    assert raw.low is not None
    assert found.low is not None
    assert found.low / (found.value or 1.0) == pytest.approx(raw.low / (raw.value or 1.0), abs=0.05)


def test_nothing_to_normalise_by() -> None:
    """At k = 1 a real subset covers nothing by construction; new points do."""
    draw = rng.stream(3, "normalised")
    real = draw.normal(size=(30, 2))
    found = measure("normalised_coverage", [own(real, np.arange(5))], 1)
    assert found.value is None
    assert "class 0: at k = 1 a random real subset covers nothing" in found.reason
    assert measure("normalised_coverage", [new(real, draw.normal(size=(5, 2)))], 1).value is not None


def test_recall_needs_more_set_points_than_k() -> None:
    """With k or fewer a set point has no k-th neighbour; of all classes as one there may be enough."""
    draw = rng.stream(4, "recall")
    points = [new(draw.normal(size=(30, 2)), draw.normal(size=(5, 2))) for _ in range(2)]
    found = measure("recall", points)
    assert found.value is None
    assert found.reason == "class 0 has 5 set points, k = 5 needs at least 6"
    assert found.pooled is not None
    assert measure("recall", points, pooled_points=0).pooled is None


def test_intervals_resample_real_points() -> None:
    """The share of 100 balls that are covered has the interval of a share of 100; precision has none."""
    draw = rng.stream(5, "interval")
    points = [new(draw.normal(size=(100, 2)), draw.normal(size=(8, 2)))]
    for name in ("coverage", "recall"):
        found = measure(name, points)
        value = found.value or 0.0
        half = 1.96 * np.sqrt(value * (1 - value) / 100)
        assert found.low == pytest.approx(value - half, abs=0.03), name
        assert found.high == pytest.approx(value + half, abs=0.03), name
        assert found.interval_over == "real points", name
    assert measure("precision", points).low is None


def test_radii_are_kept() -> None:
    """All measures of all sets in one embedding share them: they are asked for by the same name."""
    draw = rng.stream(6, "kept")
    held: dict[str, np.ndarray] = {}
    asked = []

    def kept(name, compute):  # type: ignore[no-untyped-def]
        asked.append(name)
        if name not in held:
            held[name] = compute()
        return held[name]

    real = [draw.normal(size=(n, 3)) for n in (30, 4, 50)]
    for name in ("coverage", "density", "recall", "normalised_coverage"):
        for _ in range(2):
            points = [new(r, draw.normal(size=(7, 3))) for r in real]
            scene = Scene(points, kept=kept)
            found = registry.load("metrics", name).compute(scene, BallParams())
            assert found.per_class == registry.load("metrics", name).compute(Scene(points), BallParams()).per_class
    assert set(asked) == {"radius_sq k=5", "radius_sq pooled=10000 k=5"}
    assert len(held["radius_sq k=5"]) == 84
