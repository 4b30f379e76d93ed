"""Matrices one below the other, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class JoinedRows:
    """Matrices of equal width, one below the other, without a copy of them all."""

    def __init__(self, parts: Sequence[NDArray[np.floating[Any]]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self._starts[-1]), parts[0].shape[1])
        self.dtype = parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """A run of rows (step 1), or those at some positions in the order asked for."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            bounds = [(max(start - at, 0), max(stop - at, 0)) for at in self._starts[:-1].tolist()]
            pieces = [part[a:b] for part, (a, b) in zip(self._parts, bounds, strict=True) if a < min(b, len(part))]
            return pieces[0] if len(pieces) == 1 else np.concatenate([self._parts[0][:0], *pieces])
        found_nD = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        part_n = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(part_n):
            of_part_n = part_n == number
            found_nD[of_part_n] = self._parts[number][rows[of_part_n] - self._starts[number]]
        return found_nD
