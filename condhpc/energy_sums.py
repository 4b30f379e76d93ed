"""Energy of tasks and of what several tasks make up: never 0 for what nobody measured, never better than its worst."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
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
    which = _which(tuple([(f.part, f.grade, f.joules is None) for f in figures]), gpus)
    if which is None:
        return UNKNOWN
    counted, grade, parts = which
    return Used(sum([figures[i].joules or 0.0 for i in counted]), grade, parts)


@cache
def _which(
    seen: tuple[tuple[Part, Grade, bool], ...],
    gpus: bool,  # noqa: FBT001 - a key of the cache
    /,
) -> tuple[tuple[int, ...], Grade, frozenset[Part]] | None:
    """Which of the figures count, their grade and parts: tasks of a run have the same few kinds of figures."""
    known = [i for i, (_, grade, missing) in enumerate(seen) if not missing and grade != "none"]
    parts = frozenset([seen[i][0] for i in known])
    if "node" in parts:
        known = [i for i in known if seen[i][0] == "node"]
        parts = NODE
    elif ("gpu" if gpus else "cpu") not in parts:
        return None
    return tuple(known), worst([seen[i][1] for i in known]), parts


def total(used: Iterable[tuple[Used, float]]) -> Used:
    """The sum of these, each divided by its number of users; unknown where one of them is."""
    joules, kinds = list[float](), set[tuple[Grade, frozenset[Part]]]()
    for (found, grade, of), users in used:
        if found is None:
            return UNKNOWN
        joules.append(found / users)
        kinds.add((grade, of))
    grades = [grade for grade, of in kinds if of]
    return Used(math.fsum(joules), worst(grades) if grades else "A", frozenset[Part]().union(*(of for _, of in kinds)))
