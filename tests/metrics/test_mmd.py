"""MMD² per class and of all as one; what has no meaning."""

import numpy as np
import pytest

from condhpc import kernels, registry, rng
from condhpc.metrics.base import Measurement, Points, Scene

NAMES = ["mmd_rbf", "mmd_poly"]


def measure(name: str, points: list[Points]) -> Measurement:
    """By name, with its default parameters."""
    plugin = registry.load("metrics", name)
    return plugin.compute(Scene(points), plugin.Params())


def by_hand(name: str, p: Points) -> float:
    """The estimator, over whole matrices."""
    x, y = p.real_ND.astype(float), p.set_MD.astype(float)

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if name == "mmd_poly":
            return (a @ b.T / a.shape[1] + 1) ** 3
        pairs = ((x[:, None] - x) ** 2).sum(axis=2)[np.triu_indices(len(x), 1)]
        return np.exp(-((a[:, None] - b) ** 2).sum(axis=2) / (2 * np.median(pairs)))

    xx, yy, xy = between(x, x), between(y, y), between(x, y)
    keep = np.ones_like(xy, dtype=bool)
    keep[p.own_M[p.own_M >= 0], np.flatnonzero(p.own_M >= 0)] = False
    off = [(m.sum() - np.trace(m)) / (len(m) * (len(m) - 1)) for m in (xx, yy)]
    return float(sum(off) - 2 * xy[keep].mean())


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_whole_matrices(name: str) -> None:
    """Far from the origin, with real points in the set, embedded anew; all classes as one have their own bandwidth."""
    draw = rng.stream(0, "mmd-metric")
    points = []
    for own in (np.array([1, 5, -1, -1]), np.full(6, -1)):
        real = draw.normal(5.0, 1.0, size=(30, 3)).astype(np.float32)
        new = draw.normal(5.5, 1.0, size=(len(own), 3)).astype(np.float32)
        points.append(Points(real, np.where(own[:, None] >= 0, real[own] + 0.1 * new, new), own))
    found = measure(name, points)
    assert found.per_class == pytest.approx([by_hand(name, p) for p in points], rel=1e-7)
    everything = Points(
        *(np.concatenate([getattr(p, field) for p in points]) for field in ("real_ND", "set_MD", "own_M"))
    )
    assert found.pooled == pytest.approx(by_hand(name, everything), rel=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_random_real_subset_has_zero(name: str) -> None:
    """On average over all subsets it is 0 exactly, because a point makes no pair with itself: the reference."""
    real = rng.stream(1, "mmd-metric").normal(size=(7, 2))
    subsets = [np.array([i, j, k]) for i in range(7) for j in range(i) for k in range(j)]
    values = [measure(name, [Points(real, real[rows], rows)]).value for rows in subsets]
    assert np.mean(values) == pytest.approx(0.0, abs=1e-12)
    assert max(values) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_one_set_point(name: str) -> None:
    """There is no pair of set points at ipc 1; of all classes there is."""
    draw = rng.stream(2, "mmd-metric")
    points = [Points(draw.normal(size=(9, 2)), draw.normal(size=(1, 2)), np.array([-1])) for _ in range(2)]
    found = measure(name, points)
    assert found.value is None
    assert found.reason == "class 0 has 9 real and 1 set points, pairs need two of each"
    assert found.pooled is not None


def test_no_bandwidth() -> None:
    """Where most pairs of real points coincide their median distance is 0."""
    real = np.zeros((9, 2))
    real[0] = 1.0
    found = measure("mmd_rbf", [Points(real, np.ones((2, 2)), np.full(2, -1))])
    assert found.value is None
    assert "class 0 has real points of which most pairs coincide" in found.reason


def test_the_interval_is_that_of_the_mean_of_influences() -> None:
    """Its width is the standard error over real points."""
    draw = rng.stream(3, "mmd-metric")
    p = Points(draw.normal(size=(200, 2)), draw.normal(0.5, 1.0, size=(20, 2)), np.full(20, -1))
    found = measure("mmd_poly", [p])
    kernel = kernels.Cubic()
    sums = kernels.row_sums(kernel, p.real_ND, p.real_ND, "cpu") - kernel.paired(p.real_ND, p.real_ND)
    influence = kernels.unbiased(kernel, (p.real_ND, sums), p.set_MD, p.own_M, "cpu").contribution_N
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * influence.std() / np.sqrt(200), rel=0.1)
