"""Energy figures: joules with how far they can be trusted, where they are from and of how long they are. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Part = Literal["gpu", "cpu", "dram", "node"]
Grade = Literal["A", "B", "C", "D", "none"]
"""A: measured on own whole GPUs; B: measured on a shared or node-level counter; C: modelled from sampled utilisation;
D: nominal power × time; none: not measured, which is never 0."""
GRADES: tuple[Grade, ...] = ("A", "B", "C", "D", "none")
"""The best first."""


class Energy(msgspec.Struct, frozen=True, gc=False):
    """What a part of a node used for one attempt."""

    part: Part
    joules: float | None
    """None: not measured."""
    grade: Grade
    source: str
    """In words: `NVML energy counter, 2 GPUs`."""
    window_s: float
    """Seconds that the figure is of."""


def worst(grades: list[Grade]) -> Grade:
    """The grade of a sum: that of its least trusted part; `none` of nothing."""
    return max(grades, key=GRADES.index, default="none")
