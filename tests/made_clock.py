"""A clock for tests of what waits."""

from __future__ import annotations


class Clock:
    """It stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Epoch seconds."""
        return self.now
