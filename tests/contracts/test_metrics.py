"""What every measure keeps to."""

from dataclasses import replace

import golden
import numpy as np
import pytest

from condhpc import registry, rng, scores
from condhpc.errors import StageError
from condhpc.metrics.base import Measurement, Points, Scene

NAMES = registry.names("metrics")


def classes(ipc: int = 3) -> list[Points]:
    """Three classes: a coreset, new points, and both."""
    draw, more = rng.stream(0, "metric-contract"), rng.stream(0, "metric-contract", "more")
    found = []
    for source in ([4, 9, 11, 0, 20, 29, 15], [-1] * 7, [-1, 7, 3, -1, -1, 12, 25]):
        own = np.array(source[:ipc])
        real = draw.normal(1.0, 1.0, size=(30, 5)).astype(np.float32)
        new = draw.normal(1.5, 1.0, size=(ipc, 5)).astype(np.float32)
        of_set = {name: more.random(ipc).astype(np.float32) for name in scores.NAMES}
        heldout = more.normal(1.0, 1.0, size=(12, 5)).astype(np.float32)
        found.append(Points(real, np.where(own[:, None] >= 0, real[own], new), own, heldout, of_set))
    return found


def measure(name: str, points: list[Points]) -> Measurement:
    """The measurement with default parameters."""
    plugin = registry.load("metrics", name)
    return plugin.compute(Scene(points), plugin.Params())


def numbers(found: Measurement) -> dict[str, object]:
    """All that a measurement says, as flat numbers."""
    known = {
        name: getattr(found, name)
        for name in ("value", "pooled", "reference", "low", "high")
        if getattr(found, name) is not None
    }
    return {**known, "per_class": [value for value in found.per_class if value is not None]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ipc", [1, 3, 7])
def test_shape_of_a_measurement(name: str, ipc: int) -> None:
    """One value per class, in label order, and finite numbers; a headline, or the reason why there is none."""
    found = measure(name, classes(ipc))
    assert len(found.per_class) == 3
    assert (found.value is None) == bool(found.reason)
    assert found.value is not None or ipc < 7
    for values in numbers(found).values():
        assert np.isfinite(values).all()
    assert (found.low is None) == (found.high is None) == (not found.interval_over)
    if found.low is not None and found.high is not None and found.value is not None:
        assert found.low <= found.value <= found.high
    plugin = registry.load("metrics", name)
    assert plugin.unit
    assert plugin.better in ("lower", "higher")


def shuffled(points: Points) -> Points:
    """The same points in another order."""
    order = rng.stream(1, "shuffle").permutation(len(points.real_ND))
    assert points.heldout_HD is not None
    return Points(
        points.real_ND[order],
        points.set_MD[::-1],
        np.where(points.own_M >= 0, np.argsort(order)[points.own_M], -1)[::-1],
        points.heldout_HD[::-1],
        {name: values[::-1] for name, values in points.scores.items()},
    )


@pytest.mark.parametrize("name", NAMES)
def test_order_of_points_does_not_matter(name: str) -> None:
    """A measure is one of sets: shuffling real and set points changes rounding alone, and draws of an interval."""
    found, expected = measure(name, [shuffled(p) for p in classes(7)]), measure(name, classes(7))
    for name_of, value in numbers(found).items():
        if name_of in {"value", "per_class", "pooled"}:
            assert value == pytest.approx(numbers(expected)[name_of], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name: str) -> None:
    """Embeddings are shared by all measures of a set, so none may write into them."""
    points = classes(7)
    for p in points:
        assert p.heldout_HD is not None
        for array in (p.real_ND, p.set_MD, p.own_M, p.heldout_HD, *p.scores.values()):
            array.setflags(write=False)
    assert measure(name, points) == measure(name, classes(7))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name: str) -> None:
    """Embeddings of 16 bits are measured as the numbers that they are: overflow is none."""
    half = [replace(p, real_ND=p.real_ND.astype(np.float16), set_MD=p.set_MD.astype(np.float16)) for p in classes(7)]
    wide = [replace(p, real_ND=p.real_ND.astype(float), set_MD=p.set_MD.astype(float)) for p in half]
    found, expected = measure(name, half), measure(name, wide)
    assert numbers(found)["value"] == pytest.approx(numbers(expected)["value"], rel=1e-6)
    assert numbers(found)["per_class"] == pytest.approx(numbers(expected)["per_class"], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["real", "set"])
def test_points_that_are_no_numbers_are_refused(name: str, which: str) -> None:
    """A diverged encoder is an error that names the class, never a number."""
    points = classes(7)
    vectors = (points[1].real_ND if which == "real" else points[1].set_MD).copy()
    vectors[2, 3] = np.nan
    points[1] = replace(points[1], real_ND=vectors) if which == "real" else replace(points[1], set_MD=vectors)
    with pytest.raises(StageError, match=f"class 1: 1 of .* {which} embeddings .*row 2"):
        measure(name, points)


def odd(case: str) -> list[Points]:
    """Two classes of a shape that breaks formulas."""
    draw = rng.stream(0, "metric-contract", case)
    real = draw.normal(size=(20, 1 if case == "one axis" else 3)).astype(np.float32)
    rows = np.arange(7)
    if case == "one real point":
        real, rows = real[:1], np.zeros(7, dtype=np.int64)
    elif case == "all points equal":
        real[:] = 0.3
    elif case == "all points zero":
        real[:] = 0.0
    elif case == "the whole class":
        rows = np.arange(20)
    elif case == "far away":
        real += 1e6
    heldout = real[:0] if case == "nothing held out" else draw.normal(size=(5, real.shape[1])).astype(np.float32)
    of_set = {name: np.zeros(len(rows), dtype=np.float32) for name in scores.NAMES}
    return [
        Points(real, real[rows], rows, heldout, of_set),
        Points(real, real[rows] + np.float32(case == "far away"), np.full(len(rows), -1), heldout, of_set),
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "case",
    [
        "one axis", "one real point", "all points equal", "all points zero", "the whole class", "far away",
        "nothing held out",
    ],
)  # fmt: skip
def test_odd_shapes_have_a_number_or_a_reason(name: str, case: str) -> None:
    """Never NaN, an infinity or a warning; the reason says which class it is where one class alone is odd."""
    found = measure(name, odd(case))
    for values in numbers(found).values():
        assert np.isfinite(values).all()
    assert (found.value is None) == bool(found.reason)


@pytest.mark.parametrize("name", golden.own_plugins("metrics"))
def test_golden(name: str) -> None:
    """Values at this version are those of all time."""
    found = measure(name, classes())
    if found.value is None:
        found = measure(name, classes(7))
    golden.check("metrics", name, registry.load("metrics", name).version, numbers(found), tolerance=1e-6)
