"""Measures over angles against loops over pairs and against the Vendi score's own package."""

import itertools

import numpy as np
import pytest

from condhpc import neighbours, registry, rng
from condhpc.metrics.base import Measurement, Points, Scene
from condhpc.metrics.vendi import vendi_score


def measure(name: str, points: list[Points]) -> Measurement:
    """By name, with its default parameters."""
    plugin = registry.load("metrics", name)
    return plugin.compute(Scene(points), plugin.Params())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Zero vectors have a direction of their own."""
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def some(dtype: type = np.float64) -> list[Points]:
    """Three classes: new points, a coreset, and one with zero vectors and a point twice."""
    draw = rng.stream(0, "cosine")
    found = []
    for own in (np.full(5, -1), np.arange(5), np.array([-1, 3, -1, -1, -1])):
        real = draw.normal(0.3, 1.0, size=(20, 4)).astype(dtype)
        new = draw.normal(0.3, 1.0, size=(5, 4)).astype(dtype)
        found.append(Points(real, np.where(own[:, None] >= 0, real[own], new), own))
    found[2].set_MD[[0, 2]] = 0.0
    found[2].set_MD[4] = 3 * found[2].set_MD[3]
    found[2].real_ND[7] = 0.0
    return found


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("block", [3, 2048])
def test_most_similar_real_points(monkeypatch: pytest.MonkeyPatch, dtype: type, block: int) -> None:
    """Mean and minimum over set points of the largest cosine to a real point that is another one."""
    monkeypatch.setattr(neighbours, "BLOCK", block)
    points = some(dtype)
    largest = [
        [
            max(cosine(s, x) for i, x in enumerate(p.real_ND.astype(float)) if i != o)
            for s, o in zip(p.set_MD.astype(float), p.own_M, strict=True)
        ]
        for p in points
    ]
    mean, worst = measure("real_similarity", points), measure("worst_real_similarity", points)
    assert mean.per_class == pytest.approx([np.mean(values) for values in largest], abs=1e-12)
    assert worst.per_class == pytest.approx([np.min(values) for values in largest], abs=1e-12)
    assert largest[2][0] == 1.0
    real = np.concatenate([p.real_ND for p in points]).astype(float)
    own = np.concatenate([np.where(p.own_M >= 0, p.own_M + 20 * c, -1) for c, p in enumerate(points)])
    chosen = np.concatenate([p.set_MD for p in points]).astype(float)
    over_all = [max(cosine(s, x) for i, x in enumerate(real) if i != o) for s, o in zip(chosen, own, strict=True)]
    assert mean.pooled == pytest.approx(np.mean(over_all), abs=1e-12)
    assert worst.pooled == pytest.approx(np.min(over_all), abs=1e-12)


def test_pairs_within_the_set() -> None:
    """Mean and minimum of 1 − cosine over pairs; copies up to length have distance 0."""
    points = some()
    of_pairs = [[1 - cosine(a, b) for a, b in itertools.combinations(p.set_MD, 2)] for p in points]
    mean, least = measure("within_class_distance", points), measure("closest_pair", points)
    assert mean.per_class == pytest.approx([np.mean(values) for values in of_pairs], abs=1e-12)
    assert least.per_class == pytest.approx([np.min(values) for values in of_pairs], abs=1e-12)
    assert least.per_class[2] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("name", ["within_class_distance", "closest_pair"])
def test_one_point_makes_no_pair(name: str) -> None:
    """At ipc 1 there is a reason instead of a number."""
    real = rng.stream(1, "cosine").normal(size=(5, 3))
    found = measure(name, [Points(real, real[:1] + 1, np.array([-1]))])
    assert (found.value, found.reason) == (None, "class 0 has one set point, a pair needs two")


def test_no_other_real_point() -> None:
    """A class of one image, and that in the set: there is nothing to be similar to."""
    one = np.ones((1, 3))
    found = measure("real_similarity", [Points(one, one, np.array([0]))])
    assert (found.value, found.reason) == (None, "class 0 has no real point beside the one in the set")


@pytest.mark.parametrize(("count", "axes"), [(1, 5), (6, 40), (40, 6), (30, 1)])
def test_vendi_score_agrees_with_its_package(count: int, axes: int) -> None:
    """More points than axes or fewer: the eigenvalues of the N × N kernel."""
    from vendi_score import vendi

    points = rng.stream(count, "vendi").normal(0.5, 1.0, size=(count, axes))
    assert vendi_score(points) == pytest.approx(float(vendi.score_X(points)), rel=1e-9)


def test_vendi_score_of_known_sets() -> None:
    """All at right angles count, copies count 1, k groups of copies count k; zero vectors are copies of each other."""
    eye = np.eye(7)
    assert vendi_score(eye) == pytest.approx(7.0, rel=1e-12)
    assert vendi_score(np.ones((9, 4))) == pytest.approx(1.0, abs=1e-9)
    assert vendi_score(np.repeat(eye[:3], 5, axis=0) * 2.5) == pytest.approx(3.0, rel=1e-9)
    assert vendi_score(np.zeros((4, 3))) == pytest.approx(1.0, abs=1e-9)
    assert vendi_score(np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [9.0, 0.0]])) == pytest.approx(2.0, rel=1e-9)


def test_vendi_per_class_and_of_all() -> None:
    """The share of ipc is in the details; two equal classes have no more different images than one."""
    points = [Points(np.ones((3, 4)), np.eye(4), np.full(4, -1))] * 2
    found = measure("vendi", points)
    assert found.per_class == pytest.approx((4.0, 4.0))
    assert found.pooled == pytest.approx(4.0)
    assert found.details["share_of_ipc"] == pytest.approx(1.0)
