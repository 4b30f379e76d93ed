"""Embeddings of a class as tensors: checked, in a safe range, with distances that are the same bits on every device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from condhpc.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.coresets.base import ClassImages

ROUNDING = 2.0**-24
"""Largest relative error of one operation in single precision."""
TIE = 1e-12
"""Scores in double precision that differ by less, relative to their terms, count as equal."""
_SAFE = (2.0**-16, 2.0**16)
_TILE_ROWS = 256


def of_class(images: ClassImages) -> Tensor:
    """A class's embeddings (N, D), float64 where they are stored so, else float32.

    Raises StageError where they are missing, of another shape, or not finite.
    """
    count, embeddings_ND = images.count, images.embeddings_ND
    if embeddings_ND is None or embeddings_ND.ndim != 2 or len(embeddings_ND) != count:
        found = "none" if embeddings_ND is None else str(embeddings_ND.shape)
        raise StageError(f"embeddings: found {found}, expected ({count}, D); give the embed task's whole class")
    return finite(embeddings_ND)


def finite(vectors_ND: NDArray[np.floating[Any]]) -> Tensor:
    """As a tensor of its own or of the same memory; raises StageError where a vector is NaN or infinite."""
    # A mapped file cannot be written to, which torch warns of; torch widens float16 ten times faster than numpy.
    owned_ND = vectors_ND if vectors_ND.flags.writeable and vectors_ND.flags.c_contiguous else vectors_ND.copy()
    given_ND = torch.from_numpy(owned_ND)
    wide_ND = given_ND.float() if given_ND.dtype == torch.float16 else given_ND
    low, high = torch.aminmax(wide_ND) if wide_ND.numel() else (torch.zeros(()), torch.zeros(()))
    if math.isfinite(low.item()) and math.isfinite(high.item()):
        return wide_ND
    bad = (~torch.isfinite(wide_ND)).any(dim=1).nonzero().flatten()
    raise StageError(
        f"embeddings: {len(bad)} of {len(wide_ND)} vectors of the class are NaN or infinite (first: position "
        f"{bad[0]}); the encoder has diverged or overflowed: train it again or choose another encoder"
    )


def in_range(vectors_ND: Tensor) -> Tensor:
    """Times a power of two, which rounds nothing, such that squares neither overflow nor vanish."""
    largest = max(abs(float(bound)) for bound in torch.aminmax(vectors_ND)) if vectors_ND.numel() else 0.0
    if largest == 0.0 or _SAFE[0] <= largest <= _SAFE[1]:
        return vectors_ND
    scaled_ND: Tensor = vectors_ND.double() * math.ldexp(1.0, -math.frexp(largest)[1])
    return scaled_ND


def norms(vectors_ND: Tensor) -> Tensor:
    """Euclidean lengths (N,) in double precision."""
    found_N: Tensor = torch.linalg.vector_norm(vectors_ND, dim=-1, dtype=torch.float64)
    return found_N


def inverse_norms(vectors_ND: Tensor) -> Tensor:
    """What scales each vector to length 1, in double precision; 1 for zero vectors, which stay zero."""
    norms_N = norms(vectors_ND)
    return 1.0 / torch.where(norms_N > 0, norms_N, 1.0)


def unit(vectors_ND: Tensor) -> Tensor:
    """Scaled to length 1 in double precision; zero vectors stay zero."""
    return vectors_ND.double() * inverse_norms(vectors_ND)[..., None]


def padded(vectors: Sequence[Tensor], device: str) -> tuple[Tensor, Tensor]:
    """Classes of different sizes as (C, N, D) in double precision, zeros behind each, and their sizes (C,)."""
    longest = max(len(one) for one in vectors)
    stacked_CND = torch.zeros(len(vectors), longest, vectors[0].shape[1], dtype=torch.float64, device=device)
    for row, one in enumerate(vectors):
        stacked_CND[row, : len(one)] = one.to(device)
    return stacked_CND, torch.tensor([len(one) for one in vectors], device=device)


def first_smallest(values_CN: Tensor, tolerance_C: Tensor) -> Tensor:
    """Lowest position (C,) within `tolerance_C` of each row's smallest value."""
    near_CN = values_CN <= values_CN.amin(dim=1, keepdim=True) + tolerance_C[:, None]
    return near_CN.to(torch.int8).argmax(dim=1)  # argmax gives the first of equal values


def distances(vectors_ND: Tensor) -> Tensor:
    """Euclidean distances (N, N), float32, symmetric, zero between equal vectors.

    Coordinates are rounded to a grid of at most 2^-24 of the radius of the class, on which products of double
    precision are exact: no library, number of threads or device changes a bit.
    """
    wide_ND = vectors_ND.double()
    radius = float(norms(wide_ND - wide_ND.mean(dim=0)).max())
    room = 2.0**25.5 - math.sqrt(wide_ND.shape[1])  # less what rounding can add to a length
    step = 2.0 ** -math.floor(math.log2(room / radius)) if radius > 0 else 1.0
    grid_ND = (wide_ND / step).round_()
    grid_ND -= grid_ND.mean(dim=0).round_()
    return _tiled(grid_ND, lambda squared: squared.float().sqrt_().mul_(step))


def cosine_distances(vectors_ND: Tensor) -> Tensor:
    """1 − cos of all pairs (N, N), float32, by the same exact products; the cosine with a zero vector is 0."""
    steps = 2.0**25
    grid_ND = (unit(vectors_ND) * steps).round_()
    found_NN = _tiled(
        grid_ND, lambda squared: squared.div_(2.0 * steps**2).clamp_(max=2.0).float()
    )  # ‖x − y‖² = 2 − 2 cos
    zero_N = norms(vectors_ND) == 0
    return found_NN.masked_fill_(zero_N[:, None] | zero_N, 1.0)


def _tiled(grid_ND: Tensor, finish: Callable[[Tensor], Tensor]) -> Tensor:
    """`finish` of all squared distances (N, N), tile by tile of the upper triangle, and mirrored."""
    count = len(grid_ND)
    squares_N = grid_ND.square().sum(dim=1)
    found_NN = grid_ND.new_empty((count, count), dtype=torch.float32)
    for top in range(0, count, _TILE_ROWS):
        rows_MD = grid_ND[top : top + _TILE_ROWS]
        products = torch.addmm(squares_N[top:], rows_MD, grid_ND[top:].T, alpha=-2.0)
        tile = finish(products.add_(squares_N[top : top + _TILE_ROWS, None]))
        found_NN[top : top + _TILE_ROWS, top:] = tile
        found_NN[top + _TILE_ROWS :, top : top + _TILE_ROWS] = tile[:, _TILE_ROWS:].T
    return found_NN


def ranked(values_N: NDArray[np.float64], tie: float) -> NDArray[np.int64]:
    """Positions by ascending value; runs of steps of at most `tie` count as equal, lowest position first."""
    import numpy as np

    order = np.argsort(values_N, kind="stable")
    steps = np.diff(values_N[order], prepend=values_N[order[:1]]) > tie
    return order[np.lexsort((order, np.cumsum(steps)))]
