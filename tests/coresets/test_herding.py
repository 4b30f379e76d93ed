"""Herding against its definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condhpc import rng
from condhpc.coresets.base import ClassImages
from condhpc.coresets.herding import PLUGIN, HerdingParams
from condhpc.errors import StageError


def pick(vectors: Any, ipc: int, **params_given: Any) -> list[int]:
    """Positions that the plug-in picks."""
    params = HerdingParams(**params_given)
    return PLUGIN.select(ClassImages(len(vectors), rng.stream(0), np.asarray(vectors)), ipc, params).tolist()


def by_definition(vectors: np.ndarray, ipc: int, best: Any = np.argmin) -> list[int]:
    """The smallest, over the rest, of ‖mean of the class − mean of the picks with x‖, candidate by candidate."""
    vectors = vectors.astype(np.longdouble)
    goal, picks = vectors.mean(axis=0), []
    for _ in range(ipc):
        rest = [i for i in range(len(vectors)) if i not in picks]
        gaps = [np.linalg.norm((goal - vectors[[*picks, i]].mean(axis=0)).astype(float)) for i in rest]
        picks.append(rest[int(best(gaps))])
    return picks


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_agrees_with_the_definition(seed: int, dtype: type) -> None:
    """Same picks in the same order as the rule written out, on random features of any precision."""
    vectors = rng.stream(seed, "herding-test").gamma(0.7, 5.0, size=(60, 9)).astype(dtype)
    unit = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    assert pick(vectors, 25) == by_definition(unit, 25)
    assert pick(vectors, 25, normalize=False) == by_definition(vectors, 25)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 10), st.integers(1, 3)), elements=st.integers(-3, 3).map(float)),
    st.booleans(),
    st.sampled_from(["nearest", "farthest"]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_points_with_ties(vectors: np.ndarray, normalize: bool, rule: str) -> None:  # noqa: FBT001
    """Each pick is the lowest position among the best of the rest, alone and in a batch, on lattices full of ties."""
    found = pick(vectors, len(vectors), normalize=normalize, rule=rule)
    images = [ClassImages(len(vectors), rng.stream(0), vectors)] * 2
    params = HerdingParams(normalize=normalize, rule=rule)
    assert [p.tolist() for p in PLUGIN.select_many(images, len(vectors), params, "cpu:0")] == [found, found]
    norms = np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    points = vectors / np.where(norms > 0, norms, 1.0) if normalize else vectors.astype(float)
    for t, picked in enumerate(found):
        rest = [i for i in range(len(points)) if i not in found[:t]]
        target = (t + 1) * points.mean(axis=0) - points[found[:t]].sum(axis=0)
        gaps = np.round([np.sum((target - points[i]) ** 2) * (-1 if rule == "farthest" else 1) for i in rest], 9)
        assert picked == rest[int(np.argmin(gaps))]


@pytest.mark.parametrize("seed", range(3))
def test_the_far_rule(seed: int) -> None:
    """`farthest` takes the largest gap each time, which ends far from the class mean."""
    vectors = rng.stream(seed, "herding-far").gamma(0.7, 5.0, size=(60, 9)).astype(np.float32)
    found = pick(vectors, 25, normalize=False, rule="farthest")
    assert found == by_definition(vectors, 25, np.argmax)
    gaps = [np.linalg.norm(vectors[p].mean(axis=0) - vectors.mean(axis=0)) for p in (found, pick(vectors, 25))]
    assert gaps[0] > 2 * gaps[1]


@pytest.mark.parametrize("scale", [1e-18, 1e15])
def test_scale_does_not_matter(scale: float) -> None:
    """Features in any unit give the same set, though products are taken in single precision."""
    vectors = rng.stream(1, "herding-scale").normal(size=(40, 5)) + 1.0
    assert pick(vectors * scale, 10, normalize=False) == pick(vectors, 10, normalize=False)


def test_close_calls_are_decided_in_double_precision() -> None:
    """Images that single precision cannot tell apart are still ranked by the rule, not by position."""
    draw = rng.stream(4, "herding-close")
    vectors = np.tile(draw.normal(size=(1, 9)), (30, 1)) + 1e-9 * draw.normal(size=(30, 9))
    assert pick(vectors, 6, normalize=False) == by_definition(vectors, 6)


def test_nearer_to_the_class_mean_than_random() -> None:
    """The mean of 20 picks is far nearer to the class mean than that of 20 random images (not the farthest)."""
    vectors = rng.stream(2, "herding-mean").normal(size=(500, 16))
    gap = np.linalg.norm(vectors[pick(vectors, 20, normalize=False)].mean(axis=0) - vectors.mean(axis=0))
    others = [np.linalg.norm(vectors[i : i + 20].mean(axis=0) - vectors.mean(axis=0)) for i in range(0, 500, 20)]
    assert gap < 0.5 * min(others)


def test_duplicates_are_picked_in_order() -> None:
    """Among equal images the lowest position comes first, in any position of a matrix product's blocks."""
    vectors = np.tile(rng.stream(3, "herding-twins").normal(size=(1, 33)), (70, 1))
    assert pick(vectors, 70) == list(range(70))


def test_zero_vectors_are_defined() -> None:
    """A class of zero embeddings (a dead layer) gives its first images; nothing is divided by zero."""
    assert pick(np.zeros((5, 4)), 3) == [0, 1, 2]


def test_whole_class() -> None:
    """An ipc of the class size gives each image once."""
    assert sorted(pick(np.eye(6), 6)) == list(range(6))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad: float) -> None:
    """A diverged encoder is named, with how many vectors are spoilt and where."""
    vectors = np.ones((5, 3))
    vectors[2, 1] = vectors[4, 0] = bad
    with pytest.raises(StageError, match=r"2 of 5 vectors .* position 2"):
        pick(vectors, 2)


def test_class_too_small_or_embeddings_missing() -> None:
    """Asking for more than there is, or without embeddings of the whole class, is an error."""
    with pytest.raises(StageError, match="has 3 images, ipc = 4"):
        pick(np.ones((3, 2)), 4)
    with pytest.raises(StageError, match=r"found none, expected \(3, D\)"):
        PLUGIN.select(ClassImages(3, rng.stream(0)), 1, HerdingParams())
    with pytest.raises(StageError, match=r"found \(2, 4\), expected \(3, D\)"):
        PLUGIN.select(ClassImages(3, rng.stream(0), np.ones((2, 4))), 1, HerdingParams())


def test_needs_the_encoder_of_its_parameters() -> None:
    """The embeddings come from the encoder that the manifest names."""
    assert PLUGIN.needs(HerdingParams(encoder="pixels"))["embedding"].source == "pixels"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_parallel_vectors_are_the_same(dtype: type) -> None:
    """Of one length they coincide, though rounding moves each; ties go to the lowest position, in a batch too."""
    draw = rng.stream(0, "herding-parallel")
    for dimensions in (1, 7, 30):
        vectors = (draw.integers(1, 9, size=(12, 1)) * draw.integers(1, 9, size=dimensions)).astype(dtype)
        assert pick(vectors, 5) == [0, 1, 2, 3, 4]
        images = [ClassImages(12, rng.stream(0), vectors)] * 2
        batched = PLUGIN.select_many(images, 5, HerdingParams(), "cpu:0")
        assert [p.tolist() for p in batched] == [[0, 1, 2, 3, 4]] * 2
