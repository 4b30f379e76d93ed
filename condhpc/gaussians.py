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


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and the symmetric root (D, D) of the covariance."""

    mean_D: NDArray[np.float64]
    root_DD: NDArray[np.float64]

    def stacked(self) -> NDArray[np.float64]:
        """(D + 1, D), as it is kept."""
        return np.concatenate([self.mean_D[None], self.root_DD])

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
            covariance.addmm_(block.T, block, alpha=1.0 / (count - 1))
    return Gaussian(mean_D, _root(covariance).cpu().numpy())


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * _positive(values).sqrt()) @ vectors.T
    return root


def _positive(values: Tensor) -> Tensor:
    """Eigenvalues without those that are rounding: a root would make much of them."""
    noise = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return values.masked_fill(values <= noise, 0.0)


def frechet(real: Gaussian, set_MD: NDArray[np.floating[Any]], device: str) -> float:
    """‖μ − ν‖² + tr Σ + tr T − 2 tr (Σ T)^½ to the Gaussian of M ≥ 2 points, whose covariance is T.

    With A = Σ^½ and Z the centred points ÷ √(M − 1) the last trace is the sum of the singular values of Z·A: roots of
    eigenvalues of the smaller of (Z A)(Z A)ᵀ, M × M, and A T A, D × D.
    """
    wide_MD = set_MD.astype(np.float64)
    mean_D = wide_MD.mean(axis=0)
    root = torch.from_numpy(real.root_DD).to(device)
    centred = torch.from_numpy((wide_MD - mean_D) / np.sqrt(len(wide_MD) - 1)).to(device)
    if len(wide_MD) < wide_MD.shape[1]:
        product = centred @ root
        gram = product @ product.T
    else:
        gram = root @ (centred.T @ centred) @ root
    cross = _positive(torch.linalg.eigvalsh(gram)).sqrt().sum()
    traces = root.square().sum() + centred.square().sum()
    return float(((real.mean_D - mean_D) ** 2).sum()) + float(traces - 2.0 * cross)
