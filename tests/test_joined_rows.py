"""Matrices one below the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from condhpc.joined_rows import JoinedRows


@pytest.mark.parametrize("lengths", [(5, 1, 4), (1, 9), (3, 3, 4)])
def test_joined_rows_are_those_of_one_matrix(lengths: tuple[int, ...]) -> None:
    """Every run and every choice of rows, over any cuts."""
    whole = np.arange(20.0).reshape(10, 2)
    rows = JoinedRows(np.split(whole, np.cumsum(lengths)[:-1]))
    assert (len(rows), rows.shape, rows.dtype) == (10, (10, 2), whole.dtype)
    for start, stop in itertools.product(range(11), range(11)):
        assert np.array_equal(rows[start:stop], whole[start:stop])
    for chosen in ([9, 0, 4, 5, 4], [], [6]):
        assert np.array_equal(rows[np.array(chosen, dtype=np.int64)], whole[np.array(chosen, dtype=np.int64)])
