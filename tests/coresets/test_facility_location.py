"""Facility location against its definition."""

from typing import Any

import numpy as np
import pytest

from condhpc import rng
from condhpc.coresets.base import ClassImages
from condhpc.coresets.facility_location import PLUGIN, FacilityLocationParams
from condhpc.errors import StageError


def pick(vectors: Any, ipc: int, **params: Any) -> list[int]:
    """Positions that the plug-in picks."""
    images = ClassImages(len(vectors), rng.stream(0), np.asarray(vectors))
    return PLUGIN.select(images, ipc, FacilityLocationParams(**params)).tolist()


def similarity(vectors: np.ndarray, kind: str) -> np.ndarray:
    """As the parameters say, in double precision."""
    wide = vectors.astype(float)
    if kind == "distance":
        distance = np.array([[np.linalg.norm(a - b) for b in wide] for a in wide])
        return distance.max() - distance
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return 1.0 + unit @ unit.T


def by_definition(similarity: np.ndarray, ipc: int) -> list[int]:
    """Naive greedy: the largest Σ_x max_s sim(x, s), all sums each time.

    Two points that would serve none but each other gain the same: such ties are common, and go to the lowest position.
    """
    picks: list[int] = []
    for _ in range(ipc):
        worth = [-1.0 if i in picks else similarity[[*picks, i]].max(axis=0).sum() for i in range(len(similarity))]
        picks.append(next(i for i, value in enumerate(worth) if value >= max(worth) * (1 - 1e-9)))
    return picks


@pytest.mark.parametrize("kind", ["distance", "cosine"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_definition(kind: str, dtype: Any, seed: int) -> None:
    """Same picks in the same order as the rule written out, on random features of any precision."""
    vectors = rng.stream(seed, "facility-test").gamma(0.7, 5.0, size=(60, 9)).astype(dtype)
    assert pick(vectors, 25, similarity=kind) == by_definition(similarity(vectors, kind), 25)


@pytest.mark.parametrize("scale", [1e-38, 1e-18, 1e15, 1e38])
def test_scale_does_not_matter(scale: float) -> None:
    """Features in any unit give the same set."""
    vectors = rng.stream(2, "facility-scale").normal(size=(40, 5))
    for kind in ("distance", "cosine"):
        assert pick(vectors * scale, 10, similarity=kind) == pick(vectors, 10, similarity=kind)


def test_duplicates_come_last_and_in_order() -> None:
    """Copies of a pick gain nothing: they follow when nothing else is left, lowest position first."""
    assert pick([[0.0], [0.0], [0.1], [0.0], [-1.0]], 5) == [0, 4, 2, 1, 3]


@pytest.mark.parametrize("kind", ["distance", "cosine"])
def test_zero_vectors_are_defined(kind: str) -> None:
    """A class of zero embeddings gives its first images, each once."""
    assert pick(np.zeros((5, 4)), 5, similarity=kind) == [0, 1, 2, 3, 4]


def test_one_image() -> None:
    """A class of one gives it."""
    assert pick(np.ones((1, 1)), 1) == [0]


def test_not_finite() -> None:
    """A diverged encoder is named."""
    vectors = np.ones((5, 3))
    vectors[2, 1] = np.nan
    with pytest.raises(StageError, match=r"1 of 5 vectors .* position 2"):
        pick(vectors, 2)
