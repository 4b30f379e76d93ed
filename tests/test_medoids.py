"""Greedy choice and swaps against brute force and the packages that have them."""

import itertools

import kmedoids
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condhpc import medoids, rng, vectors

POINTS = hnp.arrays(np.float32, st.tuples(st.integers(2, 9), st.integers(1, 3)), elements=st.integers(-8, 8).map(float))


def distances(points: np.ndarray) -> np.ndarray:
    """(N, N)."""
    return vectors.distances(torch.from_numpy(points)).numpy()


def draw(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Distances of points on a low-dimensional sheet with noise: greedy is not the best there."""
    stream = rng.stream(seed, "medoids", count)
    sheet = stream.normal(size=(count, 3)) @ stream.normal(size=(3, dimensions))
    return distances((sheet + 0.1 * stream.normal(size=(count, dimensions))).astype(np.float32))


def by_definition(distance: np.ndarray, start: float, ipc: int) -> list[int]:
    """The point that raises Σ max sim the most, from all sums, ties to the lowest position."""
    similarity = start - distance.astype(float)
    picks: list[int] = []
    covered = np.zeros(len(distance))
    for _ in range(ipc):
        worth = [-1.0 if i in picks else np.maximum(covered, similarity[i]).sum() for i in range(len(distance))]
        best = max(worth)
        picks.append(next(i for i, value in enumerate(worth) if value >= best - 1e-9 * max(abs(best), 1.0)))
        covered = np.maximum(covered, similarity[picks[-1]])
    return picks


def batch(matrices: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Padded distances, starts and sizes."""
    longest = max(map(len, matrices))
    padded = np.zeros((len(matrices), longest, longest), dtype=np.float32)
    for row, one in enumerate(matrices):
        padded[row, : len(one), : len(one)] = one
    starts = torch.tensor([float(one.max()) for one in matrices])
    return torch.from_numpy(padded), starts, torch.tensor([len(one) for one in matrices])


@given(POINTS, st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_lazy_greedy_is_greedy(points: np.ndarray, data: st.DataObject) -> None:
    """The same picks in the same order as all sums, with duplicates and ties, up to the whole class."""
    distance = distances(points)
    ipc = data.draw(st.integers(1, len(points)))
    start = float(distance.max())
    assert medoids.greedy(distance, start, ipc).tolist() == by_definition(distance, start, ipc)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_of_many_points(seed: int) -> None:
    """Far beyond the rows that are looked at first."""
    distance = draw(250, 16, seed)
    assert medoids.greedy(distance, float(distance.max()), 40).tolist() == by_definition(distance, distance.max(), 40)


@given(POINTS, st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_swaps_end_where_no_swap_helps(points: np.ndarray, data: st.DataObject) -> None:
    """No exchange of one pick for one other point has a lower cost, by trying all; never above the start."""
    distance = distances(points)
    ipc = data.draw(st.integers(1, len(points)))
    start = medoids.greedy(distance, float(distance.max()), ipc)
    found = medoids.swapped(distance, start)
    assert len(set(found.tolist())) == ipc
    least = medoids.cost(distance, found)
    assert least <= medoids.cost(distance, start)
    for slot, point in itertools.product(range(ipc), range(len(points))):
        assert medoids.cost(distance, np.array([*found[:slot], *found[slot + 1 :], point])) >= least - 1e-6


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ipc", [1, 2, 17])
def test_not_above_fasterpam(seed: int, ipc: int) -> None:
    """From the same start at most the cost that the package of FasterPAM's authors ends with."""
    distance = draw(200, 12, seed)
    start = np.arange(ipc)
    theirs = kmedoids.fasterpam(distance.astype(np.float64), start.copy(), n_cpu=1)
    found = medoids.swapped(distance, start)
    assert medoids.cost(distance, found) <= theirs.loss * (1 + 1e-6)
    assert medoids.cost(distance, found) < medoids.cost(distance, start)


@pytest.mark.parametrize("sizes", [(60, 90, 33), (40,), (17, 41)])
@pytest.mark.parametrize("ipc", [1, 5, 17])
def test_batches_make_the_same_choices(sizes: tuple[int, ...], ipc: int) -> None:
    """Classes of unequal sizes at a time: each as if it were alone, greedy and swapped."""
    matrices = [draw(count, 6, seed) for seed, count in enumerate(sizes)]
    distance_CNN, start_C, count_C = batch(matrices)
    greedy_CK = medoids.greedy_batch(distance_CNN, start_C, count_C, ipc)
    alone = [medoids.greedy(one, float(one.max()), ipc) for one in matrices]
    np.testing.assert_array_equal(greedy_CK, alone)
    first_CK = torch.arange(ipc).repeat(len(sizes), 1)
    swapped_CK = medoids.swapped_batch(distance_CNN, count_C, first_CK)
    np.testing.assert_array_equal(swapped_CK, [medoids.swapped(one, np.arange(ipc)) for one in matrices])


def test_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many candidates and rows are computed together is speed alone."""
    distance = draw(150, 6)
    start, ipc = float(distance.max()), 12
    expected = medoids.greedy(distance, start, ipc), medoids.swapped(distance, np.arange(ipc))
    for rows in (1, 7, 1000):
        monkeypatch.setattr(medoids, "_BLOCK_ROWS", (rows, rows))
        monkeypatch.setattr(medoids, "_FIRST_LOOK", rows)
        np.testing.assert_array_equal(medoids.greedy(distance, start, ipc), expected[0])
        np.testing.assert_array_equal(medoids.swapped(distance, np.arange(ipc)), expected[1])
