"""The class-mean error against its definition."""

import numpy as np
import pytest

from condhpc import rng
from condhpc.metrics.base import MetricParams, Points, Scene
from condhpc.metrics.class_mean_error import PLUGIN


def by_definition(real: np.ndarray, chosen: np.ndarray) -> float:
    """Distance of means over the root of the total variance."""
    wide = real.astype(float)
    error = np.linalg.norm(chosen.astype(float).mean(axis=0) - wide.mean(axis=0))
    return float(error / np.sqrt(np.trace(np.cov(wide, rowvar=False))))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_agrees_with_the_definition(dtype: type) -> None:
    """Per class, and of all classes as one, far from the origin and in classes of different sizes."""
    draw = rng.stream(0, "mean-error")
    points = [
        Points(
            draw.normal(30 + c, 1, (n, 4)).astype(dtype), draw.normal(30 + c, 1, (m, 4)).astype(dtype), np.full(m, -1)
        )
        for c, (n, m) in enumerate([(40, 3), (90, 5), (2, 1)])
    ]
    found = PLUGIN.compute(Scene(points), MetricParams())
    assert found.per_class == pytest.approx([by_definition(p.real_ND, p.set_MD) for p in points], rel=1e-9)
    real, chosen = (np.concatenate([getattr(p, name) for p in points]) for name in ("real_ND", "set_MD"))
    assert found.pooled == pytest.approx(by_definition(real, chosen), rel=1e-9)


def test_one_real_point() -> None:
    """Without variance there is no unit."""
    real = np.full((4, 2), 0.1, dtype=np.float32)
    found = PLUGIN.compute(Scene([Points(real, real[:1] + 1, np.array([-1]))]), MetricParams())
    assert (found.value, found.reason) == (None, "class 0 has no two distinct real points")
