"""Moderate against its definition."""

from typing import Any

import numpy as np
import pytest

from condhpc import rng
from condhpc.coresets.base import ClassImages
from condhpc.coresets.moderate import PLUGIN, ModerateParams
from condhpc.errors import StageError


def pick(vectors: Any, ipc: int, **params: Any) -> list[int]:
    """Positions that the plug-in picks."""
    return PLUGIN.select(
        ClassImages(len(vectors), rng.stream(0), np.asarray(vectors)), ipc, ModerateParams(**params)
    ).tolist()


@pytest.mark.parametrize("prototype", ["median", "mean"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("count", [40, 41])
def test_agrees_with_the_definition(prototype: str, dtype: Any, count: int) -> None:
    """By |distance to the prototype − median distance|, the two middle ones of an even number being tied."""
    vectors = rng.stream(count, "moderate-test").gamma(0.7, 5.0, size=(count, 9)).astype(dtype)
    wide = vectors.astype(float)
    centre = np.median(wide, axis=0) if prototype == "median" else wide.mean(axis=0)
    distance = np.linalg.norm(wide - centre, axis=1)
    oddness = np.round(np.abs(distance - np.median(distance)), 9)
    expected = sorted(range(count), key=lambda i: (oddness[i], i))
    assert pick(vectors, count, prototype=prototype) == expected


def test_neither_central_nor_far() -> None:
    """On a line the images at the quartiles come first, the middle and the ends last."""
    found = pick(np.arange(9.0)[:, None], 9)
    assert found[:2] == [2, 6]
    assert set(found[-3:]) == {0, 4, 8}


def test_duplicates_zero_vectors_and_one_image() -> None:
    """Equal distances: lowest position first."""
    assert pick(np.zeros((5, 4)), 5) == [0, 1, 2, 3, 4]
    assert pick([[1.0], [-1.0], [1.0], [-1.0]], 3) == [0, 1, 2]
    assert pick(np.ones((1, 1)), 1) == [0]


def test_not_finite() -> None:
    """A diverged encoder is named."""
    vectors = np.ones((5, 3))
    vectors[2, 1] = np.nan
    with pytest.raises(StageError, match=r"1 of 5 vectors .* position 2"):
        pick(vectors, 2)
