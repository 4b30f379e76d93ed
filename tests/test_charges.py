"""Charges from rows."""

from __future__ import annotations

import pytest

from condhpc.charges import plausible_j


@pytest.mark.parametrize(
    ("joules", "nodes", "elapsed_s", "expected"),
    [
        (None, 1, 100, None),
        (36_000, 1, 100, 36_000.0),
        (36_000, 1, 0, None),
        (5, 1, 100, None),
        (3_000_000, 1, 100, None),
        (3_000_000, 2, 100, 3_000_000.0),
    ],
)
def test_energy_is_what_nodes_can_use(joules: int | None, nodes: int, elapsed_s: int, expected: float | None) -> None:
    """Less than an idle node or more than any node is a counter's fault: not measured."""
    assert plausible_j(joules, nodes, elapsed_s) == expected
