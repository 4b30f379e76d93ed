"""Progress over the groups of a method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from condhpc import distillation
from condhpc.methods.base import Group, Steps, Unit


class Notes:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.values: list[set[str]] = []

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Note it."""
        del save
        self.told.append((step, total))
        self.values.append(set(values))

    def checkpoint(self) -> Path | None:
        """None: nothing to resume."""
        return None


def test_all_groups_count_to_one_total() -> None:
    """Three groups of four steps are twelve, also where a group has just ended; pace is known from the second step."""

    def condense(steps: Steps, group: Group) -> NDArray[np.uint8]:
        for step in range(1, 5):
            steps.tick(step, 4, loss=1.0)
        return np.zeros((len(group[0].labels), 2, 2, 3), dtype=np.uint8)

    notes = Notes()
    groups = [(Unit(f"class {label}", (label,), (0,)),) for label in range(3)]
    distillation.run(condense, groups, 2, notes)
    assert notes.told == [(step, 12) for step in (1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 12)]
    assert notes.values[0] == {"loss"}
    assert notes.values[1] == {"loss", "images_s", "eta_s"}
