"""Exit statuses of several lanes."""

from __future__ import annotations

import pytest

from condhpc import lanes


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ({0}, 0), ({0, 3}, 3), ({0, 1, 3}, 1), ({0, 75}, 75), ({1, 75}, 75), ({0, 42}, 1), ({42, 75}, 75), (set(), 0),
    ],
)  # fmt: skip
def test_the_worst_status_counts(codes: set[int], code: int) -> None:
    """What is left to do decides, then a failure (strange statuses are some), then a missing input."""
    assert lanes.worst(codes) == code
