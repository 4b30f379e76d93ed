"""Measures of copying against loops."""

import numpy as np
import pytest

from condhpc import registry, rng
from condhpc.metrics.base import Measurement, MetricParams, Points, Scene

NAMES = ["nn_distance_ratio", "authpct"]


def measure(name: str, points: list[Points]) -> Measurement:
    """By name."""
    return registry.load("metrics", name).compute(Scene(points), MetricParams())


def some(seed: int = 0) -> Points:
    """New points, a near-copy, and two real points."""
    draw = rng.stream(seed, "memory")
    real, heldout, new = (draw.normal(size=(n, 3)) for n in (30, 14, 8))
    own = np.array([4, 21, -1, -1, -1, -1, -1, -1])
    new[2] = real[9] + 1e-3
    return Points(real, np.where(own[:, None] >= 0, real[own], new), own, heldout)


def nearest(point: np.ndarray, real: np.ndarray, without: set[int]) -> tuple[float, int]:
    """Distance and row of the nearest real point that is not left out."""
    return min((float(np.linalg.norm(point - x)), i) for i, x in enumerate(real) if i not in without)


def test_ratio_of_distances() -> None:
    """Mean over set points, each without itself, ÷ mean over held-out points."""
    points = [some(0), some(1)]
    expected = [
        np.mean([nearest(s, p.real_ND, {o})[0] for s, o in zip(p.set_MD, p.own_M, strict=True)])
        / np.mean([nearest(h, p.real_ND, set())[0] for h in p.heldout_HD])  # type: ignore[union-attr]
        for p in points
    ]
    found = measure("nn_distance_ratio", points)
    assert found.per_class == pytest.approx(expected, rel=1e-9)
    assert found.reference == 1.0
    assert found.interval_over == "held-out real points"


def authentic(point: np.ndarray, real: np.ndarray, own: int) -> bool:
    """Whether the nearest real point is nearer to another one; `own` is not there at all."""
    distance, i = nearest(point, real, {own})
    return nearest(real[i], real, {i, own})[0] < distance


def test_share_of_authentic_points() -> None:
    """Of set points, each taken out of the real ones; of held-out points as the reference."""
    points = [some(seed) for seed in range(4)]
    expected = [
        100 * np.mean([authentic(s, p.real_ND, o) for s, o in zip(p.set_MD, p.own_M, strict=True)]) for p in points
    ]
    heldout = [100 * np.mean([authentic(h, p.real_ND, -1) for h in p.heldout_HD]) for p in points]  # type: ignore[union-attr]
    found = measure("authpct", points)
    assert found.per_class == pytest.approx(expected)
    assert found.reference == pytest.approx(np.mean(heldout))
    assert 0 < np.mean(expected) < 100


def test_a_coreset_is_like_held_out_points() -> None:
    """A random half of real points has on average what other real points have, not 0."""
    draw = rng.stream(5, "memory")
    found = []
    for _ in range(20):
        real, rows = draw.normal(size=(60, 2)), draw.choice(60, size=20, replace=False)
        found.append(measure("authpct", [Points(real, real[rows], rows, draw.normal(size=(20, 2)))]))
    values, references = [f.value for f in found], [f.reference for f in found]
    assert np.mean(values) == pytest.approx(np.mean(references), abs=10)
    assert 20 < np.mean(values) < 80


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_training_images(name: str) -> None:
    """Of a set that is one, without saying so, nothing is authentic, and it is no distance away."""
    p = some()
    found = measure(name, [Points(p.real_ND, p.real_ND, np.full(30, -1), p.heldout_HD)])
    assert found.value == 0.0


@pytest.mark.filterwarnings("error")
def test_an_interval_needs_a_distance_in_each_draw() -> None:
    """Where most held-out images are training images some draws hold nothing else, and there is no upper end."""
    p = some()
    heldout = np.concatenate([p.real_ND[:3], p.real_ND[:1] + 1.0])
    found = measure("nn_distance_ratio", [Points(p.real_ND, p.set_MD, p.own_M, heldout)])
    assert found.value is not None
    assert (found.low, found.high, found.interval_over) == (None, None, "")


@pytest.mark.parametrize("name", NAMES)
def test_without_held_out_points(name: str) -> None:
    """There is nothing to compare with, and the measure says that it needs them."""
    p = some()
    found = measure(name, [some(1), Points(p.real_ND, p.set_MD, p.own_M)])
    assert (found.value, found.reason) == (None, "class 1 has no held-out real points")
    needs = registry.load("metrics", name).needs(MetricParams(encoder="pixels"))
    assert (needs["heldout"].split, needs["embedding"].split) == ("test", "train")
    assert list(needs)[-1] == "embedding"
