"""The smallest entries of each row of a matrix that comes block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

STRIPES = 16
"""Columns of a block share a minimum with so many; a multiple of the vector width that divides `neighbours.BLOCK`."""


class Best:
    """The smallest entries of each row so far, with their columns."""

    def __init__(self, rows: int, keep: int, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.keep = keep
        self.sq = torch.full((rows, keep), torch.inf, dtype=dtype, device=device)
        self.index = torch.full((rows, keep), -1, dtype=torch.int64, device=device)

    def merge(self, rows: slice, first_column: int, block: Tensor) -> None:
        """Take what is smaller from a block of distances to the points from `first_column` on."""
        width = block.shape[1] // STRIPES
        if block.shape[1] % STRIPES or width < 2 * self.keep:
            sq, column = block.topk(min(self.keep, block.shape[1]), dim=1, largest=False)
            self._take(torch.arange(rows.start, rows.stop, device=block.device), sq, column + first_column)
            return
        minima = stripe_minima(block)
        if torch.isinf(self.sq[rows, -1]).any():  # at first: the stripes with the smallest minima hold the smallest
            stripe = minima.topk(self.keep, dim=1, largest=False, sorted=False).indices
            column = (stripe[:, None, :] + members(width, block.device)[:, None]).flatten(1)
            sq, order = block.gather(1, column).topk(self.keep, dim=1, largest=False)
            self._take(
                torch.arange(rows.start, rows.stop, device=block.device), sq, column.gather(1, order) + first_column
            )
            return
        row, stripe = (minima <= self.sq[rows, -1:]).nonzero().unbind(1)  # later: few stripes hold anything smaller
        column = stripe[:, None] + members(width, block.device)
        sq = block[row[:, None], column]
        place, member = (sq <= self.sq[rows.start + row, -1:]).nonzero().unbind(1)
        self._take_pairs(rows.start + row[place], sq[place, member], column[place, member] + first_column)

    def _take_pairs(self, row: Tensor, sq: Tensor, column: Tensor) -> None:
        """Entries one by one, those of a row next to each other: padded to a matrix of the rows that have any."""
        taking, place, count = torch.unique_consecutive(row, return_inverse=True, return_counts=True)
        if not len(taking):
            return
        rank = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[place]
        padded_sq = torch.full((len(taking), int(count.max())), torch.inf, dtype=sq.dtype, device=sq.device)
        padded_column = torch.full(padded_sq.shape, -1, dtype=torch.int64, device=sq.device)
        padded_sq[place, rank], padded_column[place, rank] = sq, column
        self._take(taking, padded_sq, padded_column)

    def _take(self, rows: Tensor, sq: Tensor, column: Tensor) -> None:
        both_sq, both_index = torch.cat([self.sq[rows], sq], dim=1), torch.cat([self.index[rows], column], dim=1)
        self.sq[rows], order = both_sq.topk(self.keep, dim=1, largest=False)
        self.index[rows] = both_index.gather(1, order)


def stripe_minima(block: Tensor) -> Tensor:
    """(n, width): a stripe is every `width`-th column, so that a minimum is one of whole vectors."""
    width = block.shape[1] // STRIPES
    if block.stride(1) == 1:
        return block.view(len(block), STRIPES, width).amin(dim=1)
    return block.T.view(STRIPES, width, len(block)).amin(dim=0).T  # over the outer axis of what lies in memory


def members(width: int, device: torch.device) -> Tensor:
    """Columns of stripe 0."""
    return width * torch.arange(STRIPES, device=device)
