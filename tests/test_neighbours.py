"""Neighbours and balls against brute force in float64, where ties, copies and far-off points try to fool them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc import balls, neighbours, rng

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All squared distances by differences."""
    return ((x.astype(float)[:, None] - y.astype(float)[None]) ** 2).sum(axis=2)


def brute(real: np.ndarray, chosen: np.ndarray, own: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """What `count_in_balls` and the radii should be."""
    radii = {}
    for name, points in (("real", real), ("set", chosen)):
        among = squares(points, points)
        np.fill_diagonal(among, np.inf)
        radii[name] = np.sort(among, axis=1)[:, k - 1]
    between = squares(real, chosen)
    between[own[own >= 0], np.flatnonzero(own >= 0)] = np.inf
    inside = between < radii["real"][:, None] * (1 - neighbours.TIE)
    recalled = (between < radii["set"] * (1 - neighbours.TIE)).any(axis=1)
    return {**radii, "set_in_ball": inside.sum(axis=1), "balls_of": inside.sum(axis=0), "recalled": recalled}


def found(real: np.ndarray, chosen: np.ndarray, own: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The same by blocks."""
    x, y = neighbours.clouds(real, chosen)
    radius_sq = neighbours.k_nearest_others(x, k).sq_Qk[:, -1]
    set_radius_sq = neighbours.k_nearest_others(y, k).sq_Qk[:, -1]
    counts = balls.count_in_balls(x, y, radius_sq, neighbours.Skip.own(own), set_radius_sq)
    assert counts.recalled_N is not None
    return {
        "real": radius_sq.numpy(),
        "set": set_radius_sq.numpy(),
        "set_in_ball": counts.set_in_ball_N.numpy(),
        "balls_of": counts.balls_of_M.numpy(),
        "recalled": counts.recalled_N.numpy(),
    }


def problem(kind: str, seed: int, real: int, chosen: int, axes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real points, set points of which some are real ones (one twice), and which."""
    draw = rng.stream(seed, "neighbours", kind)
    if kind == "lattice":  # most distances tie, many points are copies
        x, y = (draw.integers(0, 3, size=(n, axes)) / 255.0 - 0.3 for n in (real, chosen))
    elif kind == "far":  # spread of 1 at 10,000 from the origin, and a point far from all
        x, y = (draw.normal(1e4, 1.0, size=(n, axes)).astype(np.float32) for n in (real, chosen))
        y[0] = 3e7
    elif kind == "half":
        x, y = (draw.normal(1.0, 1.0, size=(n, axes)).astype(np.float16) for n in (real, chosen))
    elif kind == "tiny":
        x, y = (draw.normal(0.0, 1e-25, size=(n, axes)).astype(np.float32) for n in (real, chosen))
    else:
        x, y = (draw.normal(1.0, 1.0, size=(n, axes)) for n in (real, chosen))
    own = np.where(draw.random(chosen) < 0.4, draw.integers(0, real, size=chosen), -1)
    own[-2:] = 0
    return x, np.where(own[:, None] >= 0, x[own], y).astype(x.dtype), own


@FEW
@given(
    kind=st.sampled_from(["lattice", "far", "half", "tiny", "wide"]),
    seed=st.integers(0, 1000),
    sizes=st.tuples(st.integers(9, 70), st.integers(9, 40), st.integers(1, 7)),
    k=st.integers(1, 8),
    block=st.sampled_from([16, 64, 2048]),
)
def test_balls_by_brute_force(kind: str, seed: int, sizes: tuple[int, int, int], k: int, block: int) -> None:
    """Radii agree to rounding in float64 and counts exactly, in any block size."""
    points = problem(kind, seed, *sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        got = found(*points, k)
    for name, expected in brute(*points, k).items():
        assert np.allclose(got[name], expected, rtol=1e-11, atol=0.0), name


@FEW
@given(
    kind=st.sampled_from(["lattice", "far", "half", "wide"]),
    seed=st.integers(0, 1000),
    k=st.integers(1, 6),
    block=st.sampled_from([7, 2048]),
)
def test_k_nearest_by_brute_force(kind: str, seed: int, k: int, block: int) -> None:
    """Distances and, where they do not tie, indices of the nearest real points of set points, own ones left out."""
    real, chosen, own = problem(kind, seed, 40, 15, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        x, y = neighbours.clouds(real, chosen)
        near = neighbours.k_nearest(y, x, k, neighbours.Skip.own(own).turned())
    between = squares(chosen, real)
    between[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
    expected = np.sort(between, axis=1)[:, :k]
    assert np.allclose(near.sq_Qk.numpy(), expected, rtol=1e-11, atol=0.0)
    assert np.allclose(np.take_along_axis(between, near.index_Qk.numpy(), 1), expected, rtol=1e-11, atol=0.0)


def test_many_columns_by_brute_force() -> None:
    """Wide blocks look at stripes of columns first; what they leave out is not among the nearest."""
    points = problem("wide", 1, 700, 300, 5)
    got = found(*points, 5)
    for name, expected in brute(*points, 5).items():
        assert np.allclose(got[name], expected, rtol=1e-11, atol=0.0), name


def test_sums_over_many_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cut into shorter ones, and nothing is left out."""
    monkeypatch.setattr(neighbours, "_AXES", 5)
    points = problem("wide", 2, 60, 30, 17)
    got = found(*points, 5)
    for name, expected in brute(*points, 5).items():
        assert np.allclose(got[name], expected, rtol=1e-11, atol=0.0), name
    x, y = neighbours.clouds(*points[:2])
    sq = neighbours.Squares(x, y)(slice(0, 60), slice(0, 30))
    assert np.allclose(sq.numpy() / x.frame.factor**2, squares(*points[:2]), rtol=1e-4, atol=1e-4)


def test_ties_go_to_the_lowest_index() -> None:
    """Where points are there several times, and more often than candidates are kept."""
    real = np.repeat(np.arange(3.0)[:, None], 20, axis=0)
    x, y = neighbours.clouds(real, np.array([[1.1]]))
    near = neighbours.k_nearest(y, x, 4)
    assert near.index_Qk.tolist() == [[20, 21, 22, 23]]
    others = neighbours.k_nearest_others(x, 2)
    assert others.index_Qk[21].tolist() == [20, 22]
    assert others.sq_Qk.max() == 0.0


def test_fewer_points_than_asked_for() -> None:
    """What is not there is infinitely far and has no index."""
    x, y = neighbours.clouds(np.array([[0.0], [2.0]]), np.array([[0.5]]))
    near = neighbours.k_nearest(y, x, 3, neighbours.Skip.own(np.array([0])).turned())
    assert near.sq_Qk.tolist() == [[2.25, np.inf, np.inf]]
    assert near.index_Qk.tolist() == [[1, -1, -1]]
    (alone,) = neighbours.clouds(np.array([[3.0, 1.0]]))
    assert neighbours.k_nearest_others(alone, 1).sq_Qk.tolist() == [[np.inf]]


@FEW
@given(kind=st.sampled_from(["lattice", "half", "wide"]), seed=st.integers(0, 1000), block=st.sampled_from([7, 2048]))
def test_largest_ratio_by_brute_force(kind: str, seed: int, block: int) -> None:
    """Radius ÷ distance at best, own points left out; infinite on a point."""
    real, chosen, own = problem(kind, seed, 40, 15, 4)
    radius = rng.stream(seed, "radius").uniform(0.1, 2.0, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        x, y = neighbours.clouds(real, chosen)
        skip = neighbours.Skip.own(own).turned()
        got = balls.largest_ratio(y, x, torch.from_numpy(radius**2), skip)
    between = squares(chosen, real)
    between[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
    with np.errstate(divide="ignore"):
        assert np.allclose(got.numpy(), (radius / np.sqrt(between)).max(axis=1), rtol=1e-9)


def test_coarse_products_only_cost_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch may multiply in TF32 or bfloat16 the margin for close calls is as wide as that asks for."""
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")

    class Coarse(neighbours.Squares):
        def __call__(self, rows: slice, columns: slice) -> torch.Tensor:
            """Off by up to 0.2 %."""
            exact = super().__call__(rows, columns)
            return exact.mul_(1.0 + 2.0**-9 * torch.sin(1e3 * exact))

    monkeypatch.setattr(neighbours, "Squares", Coarse)
    monkeypatch.setattr(balls, "Squares", Coarse)
    points = problem("wide", 5, 80, 40, 3)
    got = found(*points, 5)
    for name, expected in brute(*points, 5).items():
        assert np.allclose(got[name], expected, rtol=1e-11, atol=0.0), name


def test_subnormal_points() -> None:
    """What is too small for a factor in single precision is as good as any."""
    points = (rng.stream(0, "subnormal").integers(-900, 900, size=(40, 3)) * 2.0**-149).astype(np.float32)
    (cloud,) = neighbours.clouds(points)
    nearest = neighbours.k_nearest_others(cloud, 3)
    among = squares(points, points)
    np.fill_diagonal(among, np.inf)
    assert np.array_equal(nearest.sq_Qk.numpy(), np.sort(among, axis=1)[:, :3])
