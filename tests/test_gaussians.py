"""Fréchet distances against scipy's matrix root."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from condhpc import gaussians, neighbours, rng


def by_root(x: np.ndarray, y: np.ndarray) -> float:
    """As the field computes it."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # fewer points than axes: singular
        root = scipy.linalg.sqrtm(np.atleast_2d(a @ b)).real if x.shape[1] > 1 else np.sqrt(a * b)
    trace = np.trace(np.atleast_2d(a)) + np.trace(np.atleast_2d(b)) - 2 * np.trace(np.atleast_2d(root))
    return float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + trace)


@pytest.mark.parametrize(("count", "axes"), [(60, 12), (14, 12), (9, 12), (5, 12), (3, 12), (40, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_sqrtm(monkeypatch: pytest.MonkeyPatch, count: int, axes: int, dtype: type) -> None:
    """More points than axes or fewer, read in parts and blocks, far from the origin."""
    monkeypatch.setattr(neighbours, "BLOCK", 17)
    draw = rng.stream(count, "frechet")
    mixing = draw.normal(size=(axes, axes))
    x = (draw.normal(size=(200, axes)) @ mixing + 30).astype(dtype)
    y = (draw.normal(0.3, 1.5, size=(count, axes)) @ mixing + 30).astype(dtype)
    fitted = gaussians.fitted(lambda: np.array_split(x, 3), "cpu")
    fitted = gaussians.Gaussian.unstacked(fitted.stacked())
    assert gaussians.frechet(fitted, y, "cpu") == pytest.approx(by_root(x.astype(float), y.astype(float)), rel=1e-6)


def test_of_equal_points_it_is_zero() -> None:
    """Also where the covariance has fewer directions than axes, whose roots of rounding would add up."""
    x = rng.stream(0, "frechet").normal(size=(300, 6)) @ rng.stream(1, "frechet").normal(size=(6, 20))
    fitted = gaussians.fitted(lambda: [x], "cpu")
    assert gaussians.frechet(fitted, x, "cpu") == pytest.approx(0.0, abs=1e-9 * np.trace(np.cov(x, rowvar=False)))


@pytest.mark.parametrize("count", [150, 30])
@pytest.mark.parametrize("wide", [1e4, 1e8])
def test_beside_an_axis_that_dwarfs_the_rest(count: int, wide: float) -> None:
    """What the other axes add is not lost as rounding; by the singular values of the centred points."""
    draw = rng.stream(count, "frechet-wide")
    x, y = draw.normal(size=(200, 40)), draw.normal(0.1, 3.0, size=(count, 40))
    x[:, 0] *= wide
    y[:, 0] = draw.permutation(x[:count, 0])
    a, b = ((points - points.mean(axis=0)) / np.sqrt(len(points) - 1) for points in (x, y))
    expected = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + (a**2).sum() + (b**2).sum()
    expected -= 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    fitted = gaussians.fitted(lambda: [x], "cpu")
    assert gaussians.frechet(fitted, y, "cpu") == pytest.approx(expected, rel=1e-6)
