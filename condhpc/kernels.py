"""Maximum mean discrepancy: sums of kernels over pairs, block by block in float64. Shapes: N real, M set points."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from condhpc.neighbours import slices

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class Kernel:
    """A kernel between rows of two matrices."""

    @abstractmethod
    def between(self, x_nD: Tensor, y_mD: Tensor) -> Tensor:
        """(n, m)."""

    @abstractmethod
    def paired(self, x_nD: NDArray[np.float64], y_nD: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each row of one with that row of the other, (n,)."""


@dataclass(frozen=True)
class Rbf(Kernel):
    """exp(−‖x − y‖² / 2σ²)."""

    variance: float

    def between(self, x_nD: Tensor, y_mD: Tensor) -> Tensor:
        """(n, m); the square of the distance is not let below 0 by rounding."""
        return squares(x_nD, y_mD).div_(-2.0 * self.variance).exp_()

    def paired(self, x_nD: NDArray[np.float64], y_nD: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 of a row with itself."""
        found: NDArray[np.float64] = np.exp(((x_nD - y_nD) ** 2).sum(axis=1) / (-2.0 * self.variance))
        return found


@dataclass(frozen=True)
class Cubic(Kernel):
    """(x·y / D + 1)³, as in the kernel inception distance."""

    def between(self, x_nD: Tensor, y_mD: Tensor) -> Tensor:
        """(n, m)."""
        return (x_nD @ y_mD.T).div_(x_nD.shape[1]).add_(1.0).pow_(3)

    def paired(self, x_nD: NDArray[np.float64], y_nD: NDArray[np.float64]) -> NDArray[np.float64]:
        """(x·y / D + 1)³."""
        found: NDArray[np.float64] = ((x_nD * y_nD).sum(axis=1) / x_nD.shape[1] + 1.0) ** 3
        return found


def squares(x_nD: Tensor, y_mD: Tensor) -> Tensor:
    """Squared distances (n, m)."""
    norms = x_nD.square().sum(dim=1)[:, None] + y_mD.square().sum(dim=1)
    return norms.addmm_(x_nD, y_mD.T, alpha=-2.0).clamp_min_(0.0)


def median_square(real_ND: NDArray[np.float64], draw: np.random.Generator, most: int = 2000) -> float:
    """Median of the squared distances of all pairs, or of those among `most` points drawn at random."""
    if len(real_ND) > most:
        real_ND = real_ND[draw.choice(len(real_ND), size=most, replace=False)]
    x = torch.from_numpy(real_ND)
    upper = torch.triu_indices(len(x), len(x), offset=1)
    return float(np.median(squares(x, x)[upper[0], upper[1]].numpy()))


def row_sums(kernel: Kernel, x_ND: NDArray[Any], y_MD: NDArray[Any], device: str) -> NDArray[np.float64]:
    """Σ_j k(x_i, y_j), (N,)."""
    y = torch.from_numpy(y_MD).to(device)
    found = torch.zeros(len(x_ND), dtype=torch.float64, device=device)
    for rows in slices(len(x_ND)):
        x = torch.from_numpy(x_ND[rows]).to(device)
        for columns in slices(len(y_MD)):
            found[rows] += kernel.between(x, y[columns]).sum(dim=1)
    return found.cpu().numpy()


@dataclass(frozen=True)
class Discrepancy:
    """Unbiased MMD², and what each real point adds to it (mean: the value)."""

    value: float
    contribution_N: NDArray[np.float64]


def unbiased(
    kernel: Kernel,
    real: tuple[NDArray[Any], NDArray[np.float64]],
    set_MD: NDArray[Any],
    own_M: NDArray[Any],
    device: str,
) -> Discrepancy:
    """Mean of k over pairs of real points and over pairs of set points, less twice that over pairs of both.

    `real`: points and the sums of their rows without the diagonal. A real point and the set point that it is are no
    pair, so that a random real subset has 0 in expectation; that set point may have been embedded anew, at another
    resolution even, and so differ from the real one. What real points add is linear in them (their influence).
    """
    real_ND, sum_N = real
    count, size = len(real_ND), len(set_MD)
    among_set = (row_sums(kernel, set_MD, set_MD, device) - kernel.paired(set_MD, set_MD)).sum() / (size * (size - 1))
    both_N = row_sums(kernel, real_ND, set_MD, device)
    of_set_m = np.flatnonzero(own_M >= 0)
    own_m = own_M[of_set_m]
    np.subtract.at(both_N, own_m, kernel.paired(real_ND[own_m], set_MD[of_set_m]))
    between = both_N.sum() / (count * size - len(own_m))
    value = float(sum_N.sum() / (count * (count - 1)) + among_set - 2.0 * between)
    influence_N = 2.0 * (sum_N / (count - 1) - both_N * count / (count * size - len(own_m)))
    return Discrepancy(value, value + influence_N - influence_N.mean())
