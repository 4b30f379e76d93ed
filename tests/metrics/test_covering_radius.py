"""The covering radius against its definition."""

import numpy as np
import pytest

from condhpc import neighbours, rng
from condhpc.errors import StageError
from condhpc.metrics.base import Points, Scene
from condhpc.metrics.covering_radius import PLUGIN


def measure(*classes: tuple[np.ndarray, np.ndarray]):
    """The measurement of classes given as (real, set), no set point being a real one."""
    points = [Points(real, chosen, np.full(len(chosen), -1)) for real, chosen in classes]
    return PLUGIN.compute(Scene(points), PLUGIN.Params())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("block_rows", [7, 4096])
def test_agrees_with_the_definition(monkeypatch: pytest.MonkeyPatch, dtype: type, block_rows: int) -> None:
    """Per class the largest of the smallest distances, the headline their mean, in any block size."""
    monkeypatch.setattr(neighbours, "BLOCK", block_rows)
    draw = rng.stream(0, "radius-test")
    classes = [(draw.normal(3, 1, (40, 6)).astype(dtype), draw.normal(3, 1, (m, 6)).astype(dtype)) for m in (1, 9)]
    expected = [
        max(min(np.linalg.norm(x.astype(float) - s.astype(float)) for s in chosen) for x in real)
        for real, chosen in classes
    ]
    found = measure(*classes)
    assert found.per_class == pytest.approx(expected, rel=1e-12)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-12)


def test_whole_class_covers_itself() -> None:
    """A set that holds every real point has radius exactly 0, however far from the origin."""
    real = rng.stream(1, "radius-zero").normal(1e4, 1, (50, 8))
    assert measure((real, real[::-1])).value == 0.0


def test_not_finite_or_empty() -> None:
    """A diverged encoder or an empty class is an error that names the class."""
    good = np.ones((3, 2))
    with pytest.raises(StageError, match="class 1: 1 of 3 set embeddings"):
        measure((good, good), (good, np.array([[1, 1], [1, np.inf], [0, 0]])))
    with pytest.raises(StageError, match="class 0: 3 real and 0 set points"):
        measure((good, good[:0]))
