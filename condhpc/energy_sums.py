"""Energy of tasks and of what several tasks make up: never 0 for what nobody measured, never better than its worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from condhpc.energy import Energy, Grade, Part, worst

_J_PER_KWH = 3.6e6


class Used(NamedTuple):
    """Energy of a task or of several."""

    joules: float | None
    """None: not measured."""
    grade: Grade
    parts: frozenset[Part]
    """Of what: `gpu`, `cpu`, `dram`, `node`."""

    @property
    def kwh(self) -> float | None:
        """In kilowatt-hours."""
        return None if self.joules is None else self.joules / _J_PER_KWH

    @property
    def of(self) -> str:
        """The parts in words, `cpu+gpu`."""
        return "+".join(sorted(self.parts))


UNKNOWN = Used(None, "none", frozenset())
NODE: frozenset[Part] = frozenset({"node"})
NOTHING = Used(0.0, "A", frozenset())
"""What no task at all used."""


def of_task(figures: Sequence[Energy], *, gpus: bool) -> Used:
    """All measured parts of one attempt; unknown where the part that does the work (GPU, else CPU) was not measured.

    A node's own figure holds the others.
    """
    if not figures:
        return UNKNOWN
    known = [figure for figure in figures if figure.joules is not None and figure.grade != "none"]
    parts = frozenset([figure.part for figure in known])
    if "node" in parts:
        known = [figure for figure in known if figure.part == "node"]
    elif ("gpu" if gpus else "cpu") not in parts:
        return UNKNOWN
    joules = sum([figure.joules for figure in known if figure.joules is not None])
    return Used(joules, worst([figure.grade for figure in known]), NODE if "node" in parts else parts)


def total(used: Iterable[tuple[Used, float]]) -> Used:
    """The sum of these, each divided by its number of users; unknown where one of them is."""
    joules, grades, parts = 0.0, list[Grade](), frozenset[Part]()
    for one, users in used:
        if one.joules is None:
            return UNKNOWN
        joules += one.joules / users
        grades += [one.grade] if one.parts else []
        parts |= one.parts
    return Used(joules, worst(grades) if grades else "A", parts)
