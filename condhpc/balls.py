"""Who is in whose ball: counts over all pairs of real and set points, exact, in one pass over blocks of distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from condhpc import row_minima
from condhpc.neighbours import SPARE, TIE, TINY, Squares, exact_squares, slices
from condhpc.row_minima import Best

if TYPE_CHECKING:
    from torch import Tensor

    from condhpc.neighbours import Cloud, Skip


def largest_ratio(queries: Cloud, points: Cloud, radius_sq_P: Tensor, skip: Skip) -> Tensor:
    """Of each query the largest radius ÷ distance over all points, (Q,) float64; inf where it is on a point.

    Ranked in float64; the best few are measured by differences.
    """
    best = Best(len(queries), min(1 + SPARE, len(points)), queries.frame.device, torch.float64)
    for rows in slices(len(queries)):
        x = _wide_block(queries, rows)
        for columns in slices(len(points)):
            y = _wide_block(points, columns)
            sq = y.square().sum(dim=1) + x.square().sum(dim=1)[:, None] - 2.0 * (x @ y.T)
            inverse = sq.clamp_min_(0.0) / (radius_sq_P[columns] * queries.frame.factor**2)
            skip.mark(inverse, rows, columns)
            best.merge(rows, columns.start, inverse)
    place = torch.arange(len(queries), device=queries.frame.device)[:, None].expand_as(best.index)
    sq = exact_squares(queries, place.flatten(), points, best.index.flatten().clamp_min(0)).view_as(best.sq)
    inverse = sq / radius_sq_P[best.index.clamp_min(0)]
    return inverse.masked_fill(torch.isinf(best.sq), torch.inf).amin(dim=1).rsqrt()


def _wide_block(cloud: Cloud, rows: slice) -> Tensor:
    """Points (n, D) float64 around the centre, scaled."""
    index = torch.arange(rows.start, rows.stop, device=cloud.frame.device)
    return (cloud.exact(index) - cloud.frame.centre_D) * cloud.frame.factor


_CACHED_ROWS = 128
"""Rows of a block that a processor's cache holds."""


@dataclass(frozen=True)
class Counts:
    """What one pass over all pairs of real points (rows) and set points (columns) finds."""

    set_in_ball_N: Tensor
    """Set points in the ball of each real point."""
    balls_of_M: Tensor
    """Balls of real points that hold each set point."""
    recalled_N: Tensor | None
    """Whether a real point is in the ball of any set point; None where these have no radii."""


def count_in_balls(
    real: Cloud, chosen: Cloud, radius_sq_N: Tensor, skip: Skip, set_radius_sq_M: Tensor | None = None
) -> Counts:
    """Counts in open balls; pairs that `skip` (real points in rows) names are in no ball of each other."""
    device = real.frame.device
    set_in_ball_N = torch.zeros(len(real), dtype=torch.int64, device=device)
    balls_of_M = torch.zeros(len(chosen), dtype=torch.int64, device=device)
    recalled_N = None if set_radius_sq_M is None else torch.zeros(len(real), dtype=torch.bool, device=device)
    squares = Squares(real, chosen)
    for rows in slices(len(real)):
        for columns in slices(len(chosen)):
            sq = squares(rows, columns)
            skip.mark(sq, rows, columns)
            pairs = _Block(real, chosen, rows, columns)
            if recalled_N is not None and set_radius_sq_M is not None:
                recalled_N[pairs.rows_in(sq, set_radius_sq_M[columns])] = True
            row, column = pairs.inside(sq, radius_sq_N[rows])
            set_in_ball_N.index_add_(0, row, torch.ones_like(row))
            balls_of_M.index_add_(0, column, torch.ones_like(column))
    return Counts(set_in_ball_N, balls_of_M, recalled_N)


class _Block:
    """Pairs of a block of real points and a block of set points, and which of them are in a ball."""

    def __init__(self, real: Cloud, chosen: Cloud, rows: slice, columns: slice) -> None:
        self._real, self._chosen = real, chosen
        self._first_row, self._first_column = rows.start, columns.start
        largest = real.norm_sq_N[rows].max() + chosen.norm_sq_N[columns].max()
        self._margin = float(largest) * real.frame.share + TINY

    def inside(self, sq: Tensor, radius_sq_n: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of the pairs in balls of real points; overwrites the block."""
        excess = sq.sub_(self._scaled(radius_sq_n)[:, None])
        row, column = _below(excess, self._margin)
        fits = self._fits(row, column, excess[row, column], radius_sq_n[row])
        return row[fits] + self._first_row, column[fits] + self._first_column

    def rows_in(self, sq: Tensor, radius_sq_m: Tensor) -> Tensor:
        """Rows that are in any ball of a set point."""
        radius_m = self._scaled(radius_sq_m)
        least_n = torch.cat([(sq[part] - radius_m).amin(dim=1) for part in slices(len(sq), _CACHED_ROWS)])
        close = ((least_n >= -self._margin) & (least_n <= self._margin)).nonzero().flatten()
        excess = sq[close] - radius_m
        place, column = (excess <= self._margin).nonzero().unbind(1)
        row = close[place]
        fits = self._fits(row, column, excess[place, column], radius_sq_m[column])
        found = torch.cat([(least_n < -self._margin).nonzero().flatten(), row[fits]])
        return found.add_(self._first_row)

    def _scaled(self, radius_sq: Tensor) -> Tensor:
        scaled: Tensor = radius_sq * self._real.frame.factor**2
        return scaled.float()

    def _fits(self, row: Tensor, column: Tensor, excess: Tensor, radius_sq: Tensor) -> Tensor:
        """Whether pairs are inside: by float32 where its rounding cannot matter, else by exact distances."""
        row, column = row + self._first_row, column + self._first_column
        norms = self._real.norm_sq_N[row] + self._chosen.norm_sq_N[column]
        fits = excess < -(norms * self._real.frame.share + TINY)
        open_ = ((excess <= norms * self._real.frame.share + TINY) & ~fits).nonzero().flatten()
        sq = exact_squares(self._real, row[open_], self._chosen, column[open_])
        fits[open_] = sq < radius_sq[open_] * (1.0 - TIE)
        return fits


def _below(block: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Rows and columns of entries up to a bound; stripes of columns whose minimum is above it are not looked at."""
    width = block.shape[1] // row_minima.STRIPES
    if block.shape[1] % row_minima.STRIPES or not width:
        row, column = (block <= bound).nonzero().unbind(1)
        return row, column
    row, stripe = (row_minima.stripe_minima(block) <= bound).nonzero().unbind(1)
    column = stripe[:, None] + row_minima.members(width, block.device)
    place, member = (block[row[:, None], column] <= bound).nonzero().unbind(1)
    return row[place], column[place, member]
