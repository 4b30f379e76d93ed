"""Nearest neighbours and balls, exact: products of float32 blocks rank, differences in float64 decide close calls.

All distances are squared. No result depends on the size of blocks or on the device: whatever rounding in float32 could
have turned is decided again from the points as they are. Distances whose squares agree to `TIE` are equal, and what is
at the radius is outside. Blocks are centred one by one; nothing of size N × N is held.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from condhpc.row_minima import Best

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BLOCK = 2048
TIE = 1e-9
SPARE = 3
"""Candidates kept beside the k nearest, so that near ties are seldom cut off."""
_AXES = 4096
"""So many products are added up at a time: what rounding may do to a sum grows with its length."""
_EXACT_ENTRIES = 1 << 17
_HELD_ENTRIES = 1 << 24
"""So many entries of points are made ready for products once; larger clouds block by block, again and again."""
TINY = 1e-30
"""In units of the largest square norm: below it float32 loses products to underflow."""


class Cloud:
    """Points (N, D) in a frame: centred and scaled blocks in float32, and the points as they are."""

    def __init__(self, vectors_ND: NDArray[np.floating[Any]], frame: Frame) -> None:
        self.frame = frame
        self._vectors = _tensor(vectors_ND).to(frame.device)
        parts = [self._square_norms(rows) for rows in slices(len(vectors_ND))]
        self.norm_sq_N = torch.cat(parts) if parts else torch.zeros(0, device=frame.device)

    def __len__(self) -> int:
        return len(self._vectors)

    def block(self, rows: slice | Tensor) -> Tensor:
        """Points (n, D) float32 of norm 1 at most, around the centre."""
        wide = self._vectors[rows].to(self.frame.centre_D.dtype)
        return (wide - self.frame.centre_D).mul_(self.frame.factor).float()

    def extended(self, rows: slice | Tensor, *, turned: bool = False) -> Tensor:
        """Points (n, D + 2) whose products with turned ones are squared distances."""
        block = self.block(rows)
        found = torch.empty(len(block), block.shape[1] + 2, device=block.device)
        torch.mul(block, -2.0 if turned else 1.0, out=found[:, :-2])
        found[:, -1 if turned else -2] = self.norm_sq_N[rows]
        found[:, -2 if turned else -1] = 1.0
        return found

    def exact(self, rows: Tensor) -> Tensor:
        """Points (n, D) float64, neither moved nor scaled."""
        return self._vectors[rows].double()

    def _square_norms(self, rows: slice) -> Tensor:
        return self.block(rows).double().square().sum(dim=1).float()


@dataclass(frozen=True)
class Frame:
    """Where clouds that are compared are seen from: one centre, and a power of two that brings norms to 1 at most."""

    centre_D: Tensor
    factor: float
    device: str

    @property
    def share(self) -> float:
        """Of the two square norms: how far a float32 distance may be from the true one, all rounding at its worst.

        D + 2 products, whose absolute values add up to at most twice the two square norms, in sums of `_AXES`.
        """
        unit = 2.0**-24 if torch.get_float32_matmul_precision() == "highest" else 2.0**-8
        count = len(self.centre_D) + 2
        return 2.0 * (min(count, _AXES) + count / _AXES + 16) * unit


def clouds(*arrays: NDArray[np.floating[Any]], device: str = "cpu") -> list[Cloud]:
    """Points in a common frame around the mean of the first array."""
    first_ND = arrays[0]
    mean_D = np.zeros(first_ND.shape[1])
    for rows in slices(len(first_ND)):
        mean_D += first_ND[rows].sum(axis=0, dtype=np.float64) / len(first_ND)
    largest = max(
        (float(np.abs(vectors[rows]).max()) for vectors in arrays for rows in slices(len(vectors))), default=0.0
    )
    wide = any(vectors.dtype.itemsize > 4 for vectors in arrays) or not 1e-30 < largest < 1e30
    centre_D = torch.from_numpy(mean_D).to(torch.float64 if wide else torch.float32)
    bound = 2.0 * largest * np.sqrt(first_ND.shape[1])
    factor = 2.0 ** -np.ceil(np.log2(bound)) if bound > 0.0 else 1.0
    frame = Frame(centre_D.to(device), float(factor), device)
    return [Cloud(vectors, frame) for vectors in arrays]


def slices(count: int, size: int | None = None) -> Iterator[slice]:
    """Slices that cover 0..count−1 in order."""
    size = size or BLOCK
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _tensor(vectors_ND: NDArray[np.floating[Any]]) -> Tensor:
    """The same memory where it is contiguous; torch warns of read-only arrays, which nothing here writes to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(vectors_ND))


class Skip:
    """Pairs (row, column) that are no pairs: a set point that is a real one, and that real point."""

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        self._rows, self._columns = rows, columns

    @classmethod
    def own(cls, own_M: NDArray[np.int64], device: str = "cpu") -> Skip:
        """Real points in rows, set points in columns."""
        columns = np.flatnonzero(own_M >= 0)
        return cls(torch.from_numpy(own_M[columns]).to(device), torch.from_numpy(columns).to(device))

    def turned(self) -> Skip:
        """Rows as columns."""
        return Skip(self._columns, self._rows)

    def mark(self, block: Tensor, rows: slice, columns: slice) -> None:
        """Set skipped pairs of a block to infinity."""
        here = (self._rows >= rows.start) & (self._rows < rows.stop)
        here &= (self._columns >= columns.start) & (self._columns < columns.stop)
        block[self._rows[here] - rows.start, self._columns[here] - columns.start] = torch.inf

    def without(self, row: Tensor, column: Tensor, width: int) -> Tensor:
        """Which of the pairs are not skipped."""
        return ~torch.isin(row * width + column, self._rows * width + self._columns)


class Nearest(NamedTuple):
    """The k nearest points of each query, ascending, ties to the lowest index; inf and −1 where there are fewer."""

    sq_Qk: Tensor
    index_Qk: Tensor


def k_nearest(queries: Cloud, points: Cloud, k: int, skip: Skip | None = None) -> Nearest:
    """Of other points than those that `skip` (queries in rows) names."""
    best = Best(len(queries), min(k + SPARE, len(points)), queries.frame.device)
    squares = Squares(queries, points)
    for rows in slices(len(queries)):
        for columns in slices(len(points)):
            sq = squares(rows, columns)
            if skip is not None:
                skip.mark(sq, rows, columns)
            best.merge(rows, columns.start, sq)
    return _decided(queries, points, best, k, skip)


def k_nearest_others(points: Cloud, k: int) -> Nearest:
    """Of each point among all others; half the products of `k_nearest`."""
    best = Best(len(points), min(k + SPARE, len(points)), points.frame.device)
    squares = Squares(points, points)
    for rows, columns in _upper_tiles(len(points)):
        sq = squares(rows, columns)
        if columns.start == rows.start:
            sq.fill_diagonal_(torch.inf)
        else:
            best.merge(columns, rows.start, sq.T)
        best.merge(rows, columns.start, sq)
    everyone = torch.arange(len(points), device=points.frame.device)
    return _decided(points, points, best, k, Skip(everyone, everyone))


def _upper_tiles(count: int) -> Iterator[tuple[slice, slice]]:
    """Tiles that hold every pair i < j once; a block on the diagonal in quarters, because half of it is waste."""
    for rows in slices(count):
        parts = list(slices(rows.stop - rows.start, max(1, BLOCK // 4)))
        inside = [slice(part.start + rows.start, part.stop + rows.start) for part in parts]
        yield from ((first, second) for i, first in enumerate(inside) for second in inside[i:])
        yield from ((rows, columns) for columns in slices(count) if columns.start > rows.start)


class Squares:
    """Blocks of scaled squared distances in float32, one after the other in the same memory.

    One product gives all three terms: of rows [x, ‖x‖², 1] and rows [−2y, 1, ‖y‖²].
    """

    def __init__(self, queries: Cloud, points: Cloud) -> None:
        self._queries, self._points = queries, points
        self._held = torch.empty(BLOCK * BLOCK, device=queries.frame.device)
        self._rows, self._left = slice(0), torch.empty(0)
        self._turned: Tensor | None = None
        if len(points) * len(points.frame.centre_D) <= _HELD_ENTRIES:
            shape = (len(points), len(points.frame.centre_D) + 2)
            self._turned = torch.empty(shape, device=points.frame.device)
            for columns in slices(len(points)):
                self._turned[columns] = points.extended(columns, turned=True)

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """(n, m), to be overwritten by the caller or by the next block."""
        if rows != self._rows:
            self._rows, self._left = rows, self._queries.extended(rows)
        right = self._points.extended(columns, turned=True) if self._turned is None else self._turned[columns]
        return _product(self._left, right, self._held)


def _product(left: Tensor, right: Tensor, held: Tensor) -> Tensor:
    """Left times right transposed, in memory that is there; sums over many axes are sums of shorter ones."""
    found = held[: len(left) * len(right)].view(len(left), len(right))
    for axes in slices(left.shape[1], _AXES):
        part = found if axes.start == 0 else torch.empty_like(found)
        if found.device.type == "cpu":  # NumPy's library is often the faster
            np.matmul(left[:, axes].numpy(), right[:, axes].numpy().T, out=part.numpy())
        else:
            torch.mm(left[:, axes], right[:, axes].T, out=part)
        if axes.start:
            found += part
    return found


def _decided(queries: Cloud, points: Cloud, best: Best, k: int, skip: Skip | None) -> Nearest:
    """The k nearest among the candidates by exact distances; where one may have been cut off, among all points."""
    count, device = len(queries), queries.frame.device
    found = Nearest(
        torch.full((count, k), torch.inf, dtype=torch.float64, device=device),
        torch.full((count, k), -1, dtype=torch.int64, device=device),
    )
    size = max(1, _EXACT_ENTRIES // max(1, best.keep * len(queries.frame.centre_D)))
    for rows in slices(count, size):
        _sort_into(found, rows, _exact_candidates(queries, points, rows, best), best.index[rows])
    if best.keep < len(points):
        scaled = found.sq_Qk[:, -1] * queries.frame.factor**2
        bound = scaled + _margin_within(queries, scaled)
        doubtful = torch.nonzero(best.sq[:, -1].double() <= bound).flatten()
        for some in torch.split(doubtful, 64):
            _decide_from_all(found, queries, points, (some, bound[some]), skip)
    return found


def _exact_candidates(queries: Cloud, points: Cloud, rows: slice, best: Best) -> Tensor:
    index = best.index[rows]
    of_rows = queries.exact(torch.arange(rows.start, rows.stop, device=index.device))
    sq = (points.exact(index.clamp_min(0).flatten()).view(*index.shape, -1) - of_rows[:, None]).square_().sum(dim=2)
    return sq.masked_fill_(~torch.isfinite(best.sq[rows]), torch.inf)


def _margin_within(queries: Cloud, radius_sq: Tensor) -> Tensor:
    """How much a scaled float32 distance of at most `radius_sq` may be off: ‖y‖² ≤ 2‖x‖² + 2‖x − y‖²."""
    return queries.frame.share * (3.0 * queries.norm_sq_N.double() + 2.0 * radius_sq) + TINY


def _sort_into(found: Nearest, rows: slice, sq: Tensor, index: Tensor) -> None:
    """Write the k smallest, ties to the lowest index."""
    index, by_index = index.sort(dim=1)
    sq, by_sq = sq.gather(1, by_index).sort(dim=1, stable=True)
    k = min(found.sq_Qk.shape[1], sq.shape[1])
    found.sq_Qk[rows, :k] = sq[:, :k]
    found.index_Qk[rows, :k] = index.gather(1, by_sq)[:, :k].masked_fill(torch.isinf(sq[:, :k]), -1)


def _decide_from_all(
    found: Nearest, queries: Cloud, points: Cloud, doubtful: tuple[Tensor, Tensor], skip: Skip | None
) -> None:
    """Replace rows by the k nearest of all points within a scaled bound."""
    rows, bound = doubtful
    pairs = []
    left, held = queries.extended(rows), torch.empty(len(rows) * BLOCK, device=bound.device)
    for columns in slices(len(points)):
        sq = _product(left, points.extended(columns, turned=True), held)
        near = (sq <= bound[:, None]).nonzero()
        pairs.append(near + torch.tensor([0, columns.start], device=near.device))
    place, column = torch.cat(pairs).unbind(1)
    if skip is not None:
        fits = skip.without(rows[place], column, len(points))
        place, column = place[fits], column[fits]
    sq = exact_squares(queries, rows[place], points, column)
    order = sq.argsort(stable=True)  # columns ascend within a row, so ties go to the lowest
    order = order[place[order].argsort(stable=True)]
    place, column, sq = place[order], column[order], sq[order]
    rank = torch.arange(len(place), device=place.device) - torch.searchsorted(place, place)
    first = rank < found.sq_Qk.shape[1]
    found.sq_Qk[rows[place[first]], rank[first]] = sq[first]
    found.index_Qk[rows[place[first]], rank[first]] = column[first]


def exact_squares(queries: Cloud, rows: Tensor, points: Cloud, columns: Tensor) -> Tensor:
    """Squared distances of pairs in float64, by differences."""
    size = max(1, _EXACT_ENTRIES // max(1, len(queries.frame.centre_D)))
    parts = [
        (queries.exact(row) - points.exact(column)).square_().sum(dim=1)
        for row, column in zip(torch.split(rows, size), torch.split(columns, size), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64, device=rows.device)
