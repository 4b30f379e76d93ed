"""Maximum mean discrepancy against double loops."""

import itertools

import numpy as np
import pytest

from condhpc import kernels, neighbours, rng
from condhpc.kernels import Cubic, Kernel, Rbf


def by_definition(kernel: Kernel, x: np.ndarray, y: np.ndarray, own: np.ndarray) -> float:
    """Means over pairs, one by one."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        if isinstance(kernel, Rbf):
            return float(np.exp(-((a - b) ** 2).sum() / (2 * kernel.variance)))
        return float((a @ b / len(a) + 1) ** 3)

    real = np.mean([k(a, b) for a, b in itertools.permutations(x, 2)])
    chosen = np.mean([k(a, b) for a, b in itertools.permutations(y, 2)])
    both = np.mean([k(a, b) for i, a in enumerate(x) for b, o in zip(y, own, strict=True) if i != o])
    return real + chosen - 2 * both


@pytest.mark.parametrize("kernel", [Rbf(2.5), Cubic()])
@pytest.mark.parametrize("block", [7, 2048])
def test_unbiased(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, block: int) -> None:
    """Set points that are real ones (one of them twice) make no pair with themselves, in any block size."""
    monkeypatch.setattr(neighbours, "BLOCK", block)
    draw = rng.stream(0, "mmd")
    x, y = draw.normal(size=(25, 3)), draw.normal(0.3, 1.2, size=(9, 3))
    own = np.array([4, 4, 7, -1, -1, -1, -1, -1, -1])
    y[:3] = x[own[:3]]
    sums = kernels.row_sums(kernel, x, x, "cpu") - kernel.paired(x, x)
    found = kernels.unbiased(kernel, (x, sums), y, own, "cpu")
    assert found.value == pytest.approx(by_definition(kernel, x, y, own), rel=1e-9)
    assert found.contribution_N.mean() == pytest.approx(found.value, abs=1e-12)


def test_contributions_are_the_influence_of_real_points() -> None:
    """Their spread gives the standard error that the jackknife over real points gives."""
    draw, kernel = rng.stream(1, "mmd"), Rbf(3.0)
    x, y, none = draw.normal(size=(60, 3)), draw.normal(0.5, 1.0, size=(8, 3)), np.full(8, -1)
    sums = kernels.row_sums(kernel, x, x, "cpu") - kernel.paired(x, x)
    contribution = kernels.unbiased(kernel, (x, sums), y, none, "cpu").contribution_N
    left_out = [by_definition(kernel, np.delete(x, i, axis=0), y, none) for i in range(0, 60, 3)]
    jackknife = np.var(left_out) * 59**2 / 60
    assert np.var(contribution) / 60 == pytest.approx(jackknife, rel=0.5)
    assert np.corrcoef(-np.array(left_out), contribution[::3])[0, 1] > 0.999


def test_median_square() -> None:
    """Over all pairs, or over those among drawn points, which are the same for the same stream."""
    x = rng.stream(2, "mmd").normal(size=(40, 2))
    pairs = [((a - b) ** 2).sum() for a, b in itertools.combinations(x, 2)]
    assert kernels.median_square(x, rng.stream(0)) == pytest.approx(np.median(pairs), rel=1e-12)
    drawn = kernels.median_square(x, rng.stream(0), most=10)
    assert drawn == kernels.median_square(x, rng.stream(0), most=10) != np.median(pairs)
