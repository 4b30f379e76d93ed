"""Footnotes about where numbers come from: code versions, GPU types, energy grades, what nobody charged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from condhpc.paper import spread
from condhpc.paper.bootstrap import Difference
from condhpc.paper.pages import words
from condhpc.study import Study

_CODE_DIGITS = 8
_ALL = (spread.SETS, spread.STUDENTS, spread.IMAGES)


def mixtures(study: Study, keys: Iterable[str], what: str) -> list[str]:
    """One note each where records differ in the code or in the GPU that they were made with."""
    found = [study.entries[key].environment for key in keys if key in study.entries]
    codes = sorted({str(environment.get("code", ""))[:_CODE_DIGITS] for environment in found} - {""})
    gpus = {str(environment.get("gpu", "")) or str(environment.get("device", "")) for environment in found}
    notes = []
    if len(codes) > 1:
        notes.append(f"{what} made by {len(codes)} versions of the code ({words(codes)})")
    if len(gpus) > 1:
        notes.append(f"{what} made on several devices ({words(sorted(gpu or 'unknown' for gpu in gpus))})")
    return notes


def of_difference(found: Difference, n: int) -> list[str]:
    """What its interval does not cover, and runs that have no counterpart among the n of the cell."""
    notes = []
    if not found.seeded:
        notes.append("one pair of runs: nothing is said of other seeds")
    elif found.over != _ALL:
        notes.append(f"interval over {words(found.over)} alone")
    if found.unlike:
        notes.append(f"{found.unlike} pairs not compared: their teachers, trainings or test images differ")
    if found.n < n:
        notes.append(f"difference over {found.n} pairs of equal seeds alone")
    return notes


def grades(found: Sequence[str]) -> list[str]:
    """A note where energy figures that can be trusted differently stand in one mean."""
    several = sorted(set(found) - {""})
    return [f"energy of grades {words(several)}"] if len(several) > 1 else []
