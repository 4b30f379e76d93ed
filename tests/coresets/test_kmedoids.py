"""k-medoids against its definition; swaps themselves are tested in `test_medoids`."""

import itertools
from typing import Any

import numpy as np
import pytest

from condhpc import rng
from condhpc.coresets import facility_location
from condhpc.coresets.base import ClassImages
from condhpc.coresets.kmedoids import PLUGIN
from condhpc.errors import StageError


def images(vectors: Any) -> ClassImages:
    """A class of these."""
    return ClassImages(len(vectors), rng.stream(0), np.asarray(vectors))


def pick(vectors: Any, ipc: int) -> list[int]:
    """Positions that the plug-in picks."""
    return PLUGIN.select(images(vectors), ipc, PLUGIN.Params()).tolist()


def cost(vectors: np.ndarray, picks: Any) -> float:
    """Σ_x min_s ‖x − s‖ in double precision."""
    wide = vectors.astype(float)
    return float(np.linalg.norm(wide[:, None] - wide[list(picks)], axis=2).min(axis=1).sum())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_no_swap_helps(seed: int, dtype: Any) -> None:
    """All exchanges of one pick, tried out, cost at least as much; so does greedy, which is not always the best."""
    vectors = rng.stream(seed, "kmedoids-test").gamma(0.7, 5.0, size=(30, 4)).astype(dtype)
    found = pick(vectors, 5)
    least = cost(vectors, found) * (1 - 1e-6)
    greedy = facility_location.PLUGIN.select(images(vectors), 5, facility_location.PLUGIN.Params())
    assert cost(vectors, greedy) >= least
    for slot, other in itertools.product(range(5), range(30)):
        assert cost(vectors, [*found[:slot], *found[slot + 1 :], other]) >= least


def test_better_than_greedy_where_greedy_fails() -> None:
    """Greedy starts in the middle of two clusters and stays there; swaps find one medoid for each."""
    vectors = np.array([[-1.0], [-1.1], [-0.9], [0.0], [1.0], [1.1], [0.9]])
    greedy = facility_location.PLUGIN.select(images(vectors), 2, facility_location.PLUGIN.Params())
    best = min(cost(vectors, pair) for pair in itertools.combinations(range(7), 2))
    assert cost(vectors, pick(vectors, 2)) == pytest.approx(best)
    assert cost(vectors, greedy) > 1.3 * best


def test_duplicates_zero_vectors_and_the_whole_class() -> None:
    """Where nothing is gained, the greedy order stays."""
    assert pick(np.zeros((5, 4)), 3) == [0, 1, 2]
    assert sorted(pick(np.eye(6), 6)) == list(range(6))
    assert pick(np.ones((1, 1)), 1) == [0]


def test_not_finite() -> None:
    """A diverged encoder is named."""
    vectors = np.ones((5, 3))
    vectors[2, 1] = np.inf
    with pytest.raises(StageError, match=r"1 of 5 vectors .* position 2"):
        pick(vectors, 2)
