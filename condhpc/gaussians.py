"""Fréchet distance of two Gaussians from their points, without a matrix root per set. Shapes: M points, D axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from condhpc.neighbours import slices

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Parts = Callable[[], Iterable[NDArray[np.floating[Any]]]]


_EDGE = 256
_LOSS = 1e-6
"""Of a distance: what eigenvalues that rounding has swallowed may add to it before they are computed another way."""


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and a lower triangular factor (D, D): the covariance is factor · factorᵀ."""

    mean_D: NDArray[np.float64]
    factor_DD: NDArray[np.float64]

    def stacked(self) -> NDArray[np.float64]:
        """(D + 1, D), as it is kept."""
        return np.concatenate([self.mean_D[None], self.factor_DD])

    @classmethod
    def unstacked(cls, held: NDArray[np.float64]) -> Gaussian:
        """From what was kept."""
        return cls(held[0], held[1:])


def fitted(parts: Parts, device: str) -> Gaussian:
    """The Gaussian of all points (covariance over N − 1), which are read twice, part by part."""
    count, total_D = 0, 0.0
    for part in parts():
        count, total_D = count + len(part), total_D + part.sum(axis=0, dtype=np.float64)
    mean_D = np.asarray(total_D) / count
    covariance = torch.zeros(len(mean_D), len(mean_D), dtype=torch.float64, device=device)
    for part in parts():
        for rows in slices(len(part)):
            block = torch.from_numpy(part[rows] - mean_D).to(device)
            covariance += gram(block.T) / (count - 1)
    return Gaussian(mean_D, _factor(covariance).cpu().numpy())


def _factor(covariance: Tensor) -> Tensor:
    """Lower triangular, also where the covariance is singular: the root is Q R, and Rᵀ R its square."""
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * _positive(values).sqrt()) @ vectors.T
    upper: Tensor = torch.linalg.qr(root, mode="r").R
    return upper.T.contiguous()


def _positive(values: Tensor) -> Tensor:
    """Eigenvalues without those that are rounding: a root would make much of them."""
    return values.masked_fill(values <= _noise(values), 0.0)


def _noise(values: Tensor) -> Tensor:
    found: Tensor = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return found


def gram(rows_CN: Tensor) -> Tensor:
    """Products (C, C) of all pairs of rows. On a CPU by NumPy, which sees the symmetry and computes half of them."""
    if rows_CN.device.type == "cpu":
        rows = rows_CN.numpy()
        return torch.from_numpy(rows @ rows.T)
    return rows_CN @ rows_CN.T


def frechet(real: Gaussian, set_MD: NDArray[np.floating[Any]], device: str) -> float:
    """‖μ − ν‖² + tr Σ + tr T − 2 tr (Σ T)^½ to the Gaussian of M ≥ 2 points, whose covariance is T.

    With Σ = L Lᵀ and Z the centred points ÷ √(M − 1) the last trace is the sum of the singular values of Z L: roots of
    eigenvalues of the smaller of (Z L)(Z L)ᵀ, M × M, and Lᵀ T L, D × D. Squares hide what is below the 10⁻⁷th part of
    the largest; where that counts the singular values are computed themselves, which takes longer.
    """
    wide_MD = set_MD.astype(np.float64)
    mean_D = wide_MD.mean(axis=0)
    wide_MD -= mean_D
    wide_MD /= np.sqrt(len(wide_MD) - 1)
    centred, factor = torch.from_numpy(wide_MD).to(device), torch.from_numpy(real.factor_DD).to(device)
    few = len(wide_MD) < wide_MD.shape[1]
    product = gram(centred @ factor) if few else _lower_congruence(gram(centred.T), factor)
    squares = torch.linalg.eigvalsh(product)
    kept = _positive(squares)
    swallowed = float((kept == 0.0).sum()) - few  # centred points have a zero of their own
    apart = ((real.mean_D - mean_D) ** 2).sum() + float(factor.square().sum() + centred.square().sum())
    distance = float(apart - 2.0 * kept.sqrt().sum())
    if 2.0 * swallowed * float(_noise(squares)) ** 0.5 > _LOSS * distance:
        root = centred if few else torch.linalg.qr(centred, mode="r").R
        distance = float(apart - 2.0 * torch.linalg.svdvals(root @ factor).sum())
    return distance


def _lower_congruence(inner: Tensor, factor: Tensor) -> Tensor:
    """Lower triangle of Lᵀ T L, all that an eigenvalue routine reads; by panels, without the zeros of L."""
    found = torch.zeros_like(inner)
    for panel in slices(len(inner), _EDGE):
        below = slice(panel.start, None)  # L is zero above the diagonal
        found[below, panel] = factor[below, below].T @ (inner[below, below] @ factor[below, panel])
    return found
