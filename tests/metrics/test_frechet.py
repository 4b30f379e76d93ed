"""The Fréchet distance of all classes as one, and of a real subset of the same size."""

import numpy as np
import pytest
import scipy.linalg

from condhpc import rng
from condhpc.metrics.base import MetricParams, Points, Scene
from condhpc.metrics.frechet import PLUGIN


def by_root(x: np.ndarray, y: np.ndarray) -> float:
    """As the field computes it."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    trace = np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real)
    return float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + trace)


def some(ipc: int) -> list[Points]:
    """Three classes in different places."""
    draw = rng.stream(ipc, "frechet-metric")
    return [
        Points(draw.normal(c, 1.0, size=(60, 5)), draw.normal(c, 1.4, size=(ipc, 5)), np.full(ipc, -1))
        for c in range(3)
    ]


def test_all_classes_as_one() -> None:
    """The headline is the pooled value; a class alone has none."""
    points = some(4)
    found = PLUGIN.compute(Scene(points), MetricParams())
    real, chosen = (np.concatenate([getattr(p, name) for p in points]) for name in ("real_ND", "set_MD"))
    assert found.value == found.pooled == pytest.approx(by_root(real, chosen), rel=1e-6)
    assert found.per_class == (None, None, None)


def test_reference_is_a_real_subset_of_the_same_size() -> None:
    """It takes as many real points of each class as the set has; all of them are at distance 0 from themselves."""
    points = [Points(p.real_ND, p.real_ND, np.arange(60)) for p in some(2)]
    found = PLUGIN.compute(Scene(points), MetricParams())
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert found.reference == pytest.approx(0.0, abs=1e-9)
    small, large = (PLUGIN.compute(Scene(some(ipc)), MetricParams()) for ipc in (3, 40))
    assert small.reference is not None
    assert large.reference is not None
    assert small.reference > 3 * large.reference > 0


def test_what_depends_on_real_points_alone_is_kept() -> None:
    """The root, and the reference by number of images per class."""
    asked = []

    def kept(name, compute):  # type: ignore[no-untyped-def]
        asked.append(name)
        return compute()

    PLUGIN.compute(Scene(some(4), kept=kept), MetricParams())
    assert asked == ["gaussian", "frechet of random real points, per class 4"]


def test_no_covariance() -> None:
    """Of one point there is none, and of pixels of large images it does not fit."""
    one = [Points(np.ones((5, 2)), np.ones((1, 2)), np.array([-1]))]
    assert PLUGIN.compute(Scene(one), MetricParams()).reason == (
        "5 real and 1 set points, a covariance needs two of each"
    )
    wide = [Points(np.ones((3, 9000)), np.ones((3, 9000)), np.full(3, -1))]
    assert "9000 axes" in PLUGIN.compute(Scene(wide), MetricParams()).reason
