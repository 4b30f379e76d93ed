"""D2 against its definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from condhpc import registry, rng
from condhpc.coresets.base import ClassImages
from condhpc.coresets.d2 import PLUGIN, D2Params, neighbours
from condhpc.errors import StageError


def pick(vectors: Any, score: Any, ipc: int, **params: Any) -> list[int]:
    """Positions that the plug-in picks."""
    held = {"el2n": np.asarray(score, dtype=np.float32)}
    return PLUGIN.select(
        ClassImages(len(vectors), rng.stream(0), np.asarray(vectors), held), ipc, D2Params(**params)
    ).tolist()


def by_definition(vectors: np.ndarray, score: np.ndarray, ipc: int, params: D2Params) -> list[int]:
    """Message by message, with scikit-learn's nearest neighbours."""
    kept = np.sort(np.argsort(score, kind="stable")[: len(score) - min(int(params.cut * len(score)), len(score) - ipc)])
    points, start = vectors[kept].astype(float), score[kept].astype(float)
    k = min(params.neighbours, len(kept) - 1)
    far, who = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    value = {
        i: start[i] + sum(np.exp(-params.forward * d) * start[j] for d, j in zip(far[i], who[i], strict=True))
        for i in range(len(kept))
    }
    picks = []
    for _ in range(ipc):
        best = max((i for i in value if i not in picks), key=lambda i: (value[i], -i))
        picks.append(best)
        for d, j in zip(far[best], who[best], strict=True):
            value[j] -= np.exp(-params.reverse * d) * value[best]
    return kept[picks].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("params", [D2Params(), D2Params(neighbours=1, cut=0.0), D2Params(forward=0.2, reverse=1.0)])
def test_agrees_with_the_definition(dtype: Any, params: D2Params) -> None:
    """Same picks in the same order as the messages written out."""
    stream = rng.stream(3, "d2-test")
    vectors, score = stream.normal(size=(50, 4)).astype(dtype), stream.random(50, dtype=np.float32)
    images = ClassImages(50, rng.stream(0), vectors, {"el2n": score})
    assert PLUGIN.select(images, 12, params).tolist() == by_definition(vectors, score, 12, params)


@given(hnp.arrays(np.float32, st.integers(2, 9), elements=st.integers(0, 6).map(float)), st.integers(1, 12))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_neighbours(points: np.ndarray, k: int) -> None:
    """Nearest first, ties to the lowest position, never oneself, as many as there are."""
    distance = np.abs(points[:, None] - points)
    found = neighbours(distance, k)
    for i, row in enumerate(found.tolist()):
        others = sorted((j for j in range(len(points)) if j != i), key=lambda j: (distance[i, j], j))
        assert row == others[:k]


def test_cut_leaves_enough() -> None:
    """The hardest share goes first, but never more than leaves ipc images."""
    score = np.arange(10) / 10
    vectors = np.arange(10.0)[:, None] * 100  # no message arrives
    assert pick(vectors, score, 2, cut=0.3) == [6, 5]
    assert pick(vectors, score, 9, cut=0.3) == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert pick(vectors, score, 2, cut=0.0) == [9, 8]


def test_picks_damp_their_neighbours() -> None:
    """Of two twins the second comes after an easier image elsewhere."""
    vectors = np.array([[0.0], [0.01], [50.0], [50.01]])
    assert pick(vectors, [0.9, 0.8, 0.5, 0.4], 2, neighbours=1, cut=0.0) == [0, 2]


def test_raw_distances_silence_messages_and_unit_length_does_not() -> None:
    """Far-apart raw embeddings leave the scores alone; between unit vectors neighbours are heard."""
    vectors = np.array([[100.0, 0.0], [0.0, 100.0], [0.0, 200.0], [0.0, 300.0]])
    score = [0.6, 0.5, 0.5, 0.5]
    assert pick(vectors, score, 1, neighbours=2, cut=0.0) == [0]
    assert pick(vectors, score, 1, neighbours=2, cut=0.0, normalize=True) == [1]


def test_duplicates_zero_vectors_and_one_image() -> None:
    """Ties go to the lowest position, each image once."""
    assert sorted(pick(np.zeros((5, 4)), np.ones(5), 5)) == [0, 1, 2, 3, 4]
    assert pick(np.zeros((5, 4)), np.zeros(5), 5) == [0, 1, 2, 3, 4]
    assert pick(np.ones((1, 1)), [0.5], 1) == [0]


def test_scores_must_be_there_and_finite() -> None:
    """What is missing, of another length or not a number is named."""
    with pytest.raises(StageError, match=r"score 'el2n': found only \[\], expected \(3,\)"):
        PLUGIN.select(ClassImages(3, rng.stream(0), np.ones((3, 2))), 1, D2Params())
    with pytest.raises(StageError, match=r"found an array \(2,\), expected \(3,\)"):
        pick(np.ones((3, 2)), [1.0, 2.0], 1)
    with pytest.raises(StageError, match=r"score 'el2n' is NaN or infinite for 1 of 3 images"):
        pick(np.ones((3, 2)), [1.0, np.nan, 0.0], 1)


def test_pixels_have_no_scores() -> None:
    """Said before anything is computed."""
    info = registry.load("datasets", "digits").INFO
    assert "teacher" in PLUGIN.objection(D2Params(encoder="pixels"), info, 1)
    assert PLUGIN.objection(D2Params(), info, 1) == ""
