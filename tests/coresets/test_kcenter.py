"""k-center greedy against its definition."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condhpc import rng
from condhpc.coresets import kcenter
from condhpc.coresets.base import ClassImages
from condhpc.coresets.kcenter import PLUGIN
from condhpc.errors import StageError


def pick(vectors: Any, ipc: int) -> list[int]:
    """Positions that the plug-in picks."""
    return PLUGIN.select(ClassImages(len(vectors), rng.stream(0), np.asarray(vectors)), ipc, PLUGIN.Params()).tolist()


def by_definition(vectors: np.ndarray, ipc: int) -> list[int]:
    """Start nearest to the mean; then the point whose nearest pick is farthest, from all pairwise distances."""
    vectors = vectors.astype(float)
    distance = np.array([[np.linalg.norm(a - b) for b in vectors] for a in vectors])
    picks = [int(np.argmin([np.linalg.norm(v - vectors.mean(axis=0)) for v in vectors]))]
    while len(picks) < ipc:
        rest = [i for i in range(len(vectors)) if i not in picks]
        picks.append(max(rest, key=lambda i: (distance[i, picks].min(), -i)))
    return picks


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_agrees_with_the_definition(seed: int, dtype: type) -> None:
    """Same picks in the same order as the rule written out, on random features of any precision."""
    vectors = rng.stream(seed, "kcenter-test").gamma(0.7, 5.0, size=(60, 9)).astype(dtype)
    assert pick(vectors, 25) == by_definition(vectors, 25)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 10), st.integers(1, 3)), elements=st.integers(-3, 3).map(float)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_points_with_ties(vectors: np.ndarray) -> None:
    """Each pick is the lowest of the farthest, alone and in a batch, on lattices full of ties."""
    found = pick(vectors, len(vectors))
    images = [ClassImages(len(vectors), rng.stream(0), vectors)] * 2
    many = PLUGIN.select_many(images, len(vectors), PLUGIN.Params(), "cpu:0")
    assert [p.tolist() for p in many] == [found, found]
    points = vectors.astype(float)
    assert found[0] == int(np.argmin(np.round(np.sum((points - points.mean(axis=0)) ** 2, axis=1), 9)))
    for t in range(1, len(found)):
        rest = [i for i in range(len(points)) if i not in found[:t]]
        reach = [np.min(np.sum((points[i] - points[found[:t]]) ** 2, axis=1)) for i in rest]
        assert found[t] == rest[int(np.argmax(np.round(reach, 9)))]


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are left alone as long as they cannot hold the farthest point: speed alone depends on them."""
    clouds = rng.stream(5, "kcenter-blocks").normal(size=(4, 50, 3)) + 20.0 * np.arange(4)[:, None, None]
    vectors = clouds.reshape(200, 3).astype(np.float32)
    monkeypatch.setattr(kcenter, "_BLOCK_ROWS", block)
    assert pick(vectors, 30) == by_definition(vectors, 30)


def test_points_of_no_class() -> None:
    """`spread` takes any points, as a tensor."""
    vectors = rng.stream(6, "kcenter-free").normal(size=(90, 4))
    assert kcenter.spread(torch.from_numpy(vectors), 15).tolist() == by_definition(vectors, 15)


def test_far_from_the_origin() -> None:
    """A large common offset does not drown distances in single precision."""
    vectors = rng.stream(1, "kcenter-offset").normal(size=(60, 5))
    assert pick(vectors + 1e6, 20) == by_definition(vectors, 20)


@pytest.mark.parametrize("scale", [1e-18, 1e15])
def test_scale_does_not_matter(scale: float) -> None:
    """Features in any unit give the same set."""
    vectors = rng.stream(2, "kcenter-scale").normal(size=(40, 5))
    assert pick(vectors * scale, 10) == pick(vectors, 10)


def test_exact_ties_go_to_the_lowest_position() -> None:
    """On a lattice, where many distances agree, the lowest position wins every tie."""
    vectors = np.array([[x, y, 0.0] for x in range(5) for y in range(5)])
    assert pick(vectors, 25) == by_definition(vectors, 25)


def test_duplicates_are_picked_last_and_in_order() -> None:
    """Copies of a pick are at distance 0: they follow when nothing else is left, lowest position first."""
    vectors = np.array([[0.0], [0.0], [0.1], [0.0], [-1.0]])
    assert pick(vectors, 5) == [0, 4, 2, 1, 3]


def test_zero_vectors_are_defined() -> None:
    """A class of zero embeddings gives its first images, each once."""
    assert pick(np.zeros((5, 4)), 5) == [0, 1, 2, 3, 4]


def test_not_finite() -> None:
    """A diverged encoder is named."""
    vectors = np.ones((5, 3))
    vectors[2, 1] = np.nan
    with pytest.raises(StageError, match=r"1 of 5 vectors .* position 2"):
        pick(vectors, 2)


def test_class_too_small() -> None:
    """The error tells both numbers."""
    with pytest.raises(StageError, match="has 3 images, ipc = 4"):
        pick(np.ones((3, 2)), 4)
