"""Embeddings of a class as tensors, and distances that are the same bits everywhere."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from condhpc import rng, vectors

CLASSES = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=st.floats(-100, 100, width=16)
)


def draw(count: int, dimensions: int, dtype: Any = np.float32) -> np.ndarray:
    """Skewed random embeddings."""
    return rng.stream(0, "vectors", count, dimensions).gamma(0.7, 5.0, size=(count, dimensions)).astype(dtype)


@given(CLASSES)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_distances_are_euclidean(points: np.ndarray) -> None:
    """As scipy has them to 1e-6 of the radius; symmetric; 0 exactly between equal vectors."""
    found = vectors.distances(torch.from_numpy(points)).numpy()
    radius = np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    np.testing.assert_allclose(found, cdist(points.astype(float), points.astype(float)), atol=2e-6 * radius)
    np.testing.assert_array_equal(found, found.T)
    for a, b in pairwise(range(len(points))):
        assert (found[a, b] == 0) or not np.array_equal(points[a], points[b])


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 700])
def test_distances_over_tiles(count: int) -> None:
    """Any number of points, whole tiles or not."""
    points = draw(count, 7)
    found = vectors.distances(torch.from_numpy(points))
    np.testing.assert_allclose(found, cdist(points.astype(float), points.astype(float)), atol=1e-5)


def test_distances_do_not_depend_on_the_order_of_additions() -> None:
    """Reversed coordinates, and a subset of the points with the same extent, give the very same bits."""
    points = torch.from_numpy(draw(300, 64))
    whole = vectors.distances(points)
    assert torch.equal(vectors.distances(points.flip(1)), whole)
    assert torch.equal(vectors.distances(points.flip(0)), whole.flip(0, 1))
    two = torch.cat([points, points])  # same mean and radius, other tiles
    assert torch.equal(vectors.distances(two)[:300, 300:], whole)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_distances_far_from_the_origin(dtype: Any) -> None:
    """A common offset costs nothing but what it rounds in the input itself."""
    points = (draw(40, 5) + 1000.0).astype(dtype)
    exact = cdist(points.astype(float), points.astype(float))
    np.testing.assert_allclose(vectors.distances(vectors.finite(points)), exact, atol=2e-6 * exact.max())


@given(CLASSES)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_cosine_distances(points: np.ndarray) -> None:
    """1 − cos as written out; a zero vector has cosine 0 with all, itself included."""
    wide = points.astype(float)
    norms = np.linalg.norm(wide, axis=1)
    unit = wide / np.where(norms > 0, norms, 1.0)[:, None]
    np.testing.assert_allclose(vectors.cosine_distances(torch.from_numpy(points)), 1.0 - unit @ unit.T, atol=2e-7)


def test_safe_range_is_exact() -> None:
    """Powers of two alone: what was equal stays equal, and squares neither overflow nor vanish."""
    points = torch.from_numpy(draw(5, 3, np.float64))
    for factor in (1e-150, 1e-30, 1e30, 1e150):
        scaled = vectors.in_range(points * factor)
        ratio = scaled / (points * factor)
        assert float(ratio.max()) == float(ratio.min())
        assert 0.25 < float(scaled.abs().max()) <= 1.0
    assert vectors.in_range(points) is points
    assert torch.equal(vectors.in_range(torch.zeros(2, 2)), torch.zeros(2, 2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_input_is_left_alone(dtype: Any, tmp_path: Path) -> None:
    """A file mapped read-only is taken without a warning, and float16 is widened."""
    held = np.memmap(tmp_path / "embeddings", dtype=dtype, mode="w+", shape=(4, 3))
    held[:] = draw(4, 3, dtype)
    held.flush()
    mapped = np.memmap(tmp_path / "embeddings", dtype=dtype, mode="r", shape=(4, 3))
    found = vectors.finite(mapped)
    assert found.dtype == (torch.float64 if dtype == np.float64 else torch.float32)
    np.testing.assert_array_equal(found, mapped)


def test_ranked() -> None:
    """Ascending; what differs by no more than the tie counts as equal, and the lowest position comes first."""
    values = np.array([3.0, 1.0 + 1e-13, 2.0, 1.0, 0.5])
    assert vectors.ranked(values, 1e-12).tolist() == [4, 1, 3, 2, 0]
    assert vectors.ranked(values, 0.0).tolist() == [4, 3, 1, 2, 0]


def test_first_smallest() -> None:
    """The lowest position within each row's own tolerance."""
    values = torch.tensor([[3.0, 1.1, 1.0], [0.0, 0.0, 1.0]])
    assert vectors.first_smallest(values, torch.tensor([0.2, 0.0])).tolist() == [1, 0]
    assert vectors.first_smallest(values, torch.tensor([0.0, 0.0])).tolist() == [2, 0]
