"""Energy figures: joules with how far they can be trusted, where they are from and of how long they are. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Part = Literal["gpu", "cpu", "dram", "node"]
Grade = Literal["A", "B", "C", "D", "none"]
"""A: measured on own whole GPUs; B: measured on a shared or node-level counter; C: modelled from sampled utilisation;
D: nominal power × time; none: not measured, which is never 0."""
GRADES: tuple[Grade, ...] = ("A", "B", "C", "D", "none")
"""The best first."""


MOST = 1e15
"""Seconds, joules or bytes: more than any task takes, and little enough to be added up and squared."""
Amount = Annotated[float, msgspec.Meta(ge=-MOST, le=MOST)]
"""What is added up: of what other code wrote, too."""


class Energy(msgspec.Struct, frozen=True, gc=False):
    """What a part of a node used for one attempt."""

    part: Part
    joules: Amount | None
    """None: not measured."""
    grade: Grade
    source: str
    """In words: `NVML energy counter, 2 GPUs`."""
    window_s: Amount
    """Seconds that the figure is of."""


def worst(grades: list[Grade]) -> Grade:
    """The grade of a sum: that of its least trusted part; `none` of nothing."""
    return max(grades, key=GRADES.index, default="none")


class Power(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What parts of a node draw where no counter can be read: a site's figures with their sources."""

    gpu_tdp_w: dict[str, float] = {}
    """Part of a GPU's name to watts."""
    gpu_tdp_source: str = ""
    gpu_type: str = ""
    """GPU type that an element asks for, to find its power by where no driver tells the name."""
    cpu_w_per_core: float | None = None
    """Of a busy core."""
    cpu_w_source: str = ""
    dram_w_per_gb: float | None = None
    dram_w_source: str = ""


def tdp_w(power: Power, name: str) -> float | None:
    """Watts of the GPU type that a name holds, the longest first; of the only type where there is no name."""
    if not name:
        return next(iter(power.gpu_tdp_w.values())) if len(power.gpu_tdp_w) == 1 else None
    held = [known for known in power.gpu_tdp_w if known.lower() in name.lower()]
    return power.gpu_tdp_w[max(held, key=len)] if held else None
