"""What every measure keeps to."""

import golden
import numpy as np
import pytest

from condhpc import registry, rng
from condhpc.metrics.base import Measurement, Points

NAMES = registry.names("metrics")


def classes() -> list[Points]:
    """Three classes: a coreset, new points, and both."""
    draw = rng.stream(0, "metric-contract")
    found = []
    for own in (np.array([4, 9, 11]), np.array([-1, -1, -1]), np.array([-1, 7, 3])):
        real = draw.normal(1.0, 1.0, size=(30, 5)).astype(np.float32)
        new = draw.normal(1.5, 1.0, size=(3, 5)).astype(np.float32)
        found.append(Points(real, np.where(own[:, None] >= 0, real[own], new), own))
    return found


def measure(name: str, points: list[Points]) -> Measurement:
    """The measurement with default parameters."""
    plugin = registry.load("metrics", name)
    return plugin.compute(points, plugin.Params())


@pytest.mark.parametrize("name", NAMES)
def test_shape_of_a_measurement(name: str) -> None:
    """One finite value per class, in label order, a headline, a unit and a direction."""
    found = measure(name, classes())
    assert len(found.per_class) == 3
    assert found.value is not None
    assert np.isfinite([found.value, *(v for v in found.per_class if v is not None)]).all()
    plugin = registry.load("metrics", name)
    assert plugin.unit
    assert plugin.better in ("lower", "higher")


@pytest.mark.parametrize("name", NAMES)
def test_order_of_points_does_not_matter(name: str) -> None:
    """A measure is one of sets: shuffling real and set points changes nothing but rounding."""
    order = rng.stream(1, "shuffle").permutation(30)
    where = np.argsort(order)
    shuffled = [
        Points(p.real_ND[order], p.set_MD[::-1], np.where(p.own_M >= 0, where[p.own_M], -1)[::-1]) for p in classes()
    ]
    assert measure(name, shuffled).per_class == pytest.approx(measure(name, classes()).per_class, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name: str) -> None:
    """Embeddings are shared by all measures of a set, so none may write into them."""
    points = classes()
    for p in points:
        p.real_ND.setflags(write=False)
        p.set_MD.setflags(write=False)
    assert measure(name, points) == measure(name, classes())


@pytest.mark.parametrize("name", golden.own_plugins("metrics"))
def test_golden(name: str) -> None:
    """Values at this version are those of all time."""
    found = measure(name, classes())
    values = {"value": found.value, "per_class": list(found.per_class)}
    golden.check("metrics", name, registry.load("metrics", name).version, values, tolerance=1e-6)
