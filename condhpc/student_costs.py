"""What the recorded students of a set cost together, and those among them that are alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.task_costs import Cost, together

Which = tuple[str, str, str]
"""Dataset, protocol and student: what a student and its like on all training data have in common."""


class Student(NamedTuple):
    """A recorded student of a set."""

    key: str
    labels: str
    """The task that wrote the labels that it read; empty where it read none."""
    which: Which


class Alike(msgspec.Struct, frozen=True, array_like=True):
    """Students that differ in their seed alone, with the label files that they read, each once."""

    which: Which
    count: int
    cost: Cost | None
    """None without the record of a label file."""


class Students(msgspec.Struct, frozen=True, array_like=True):
    """All of a set."""

    count: int
    cost: Cost | None
    """With the label files that they read, each once; None without a student, or without the record of such a file."""
    labels: list[str]
    """Keys of these files' tasks."""
    alike: list[Alike]


NOBODY = Students(0, None, [], [])


def which(label: Label) -> Which:
    """Of an evaluation."""
    return label.dataset or "", label.protocol or "", label.student or ""


def of_plan(plan: Iterable[PlanLine], costs: Mapping[str, Cost]) -> dict[str, list[Student]]:
    """Those that have a cost, by set, in the order of the plan."""
    found: dict[str, list[Student]] = {}
    for line in plan:
        if line.stage == "evaluate" and "set" in line.inputs and line.key in costs:
            one = Student(line.key, line.inputs.get("labels", ""), which(line.label))
            found.setdefault(line.inputs["set"], []).append(one)
    return found


def of_set(students: Sequence[Student], costs: Mapping[str, Cost]) -> Students:
    """Added up."""
    if not students:
        return NOBODY
    groups: dict[Which, list[Student]] = {}
    for one in students:
        groups.setdefault(one.which, []).append(one)
    sums = [(of, together([costs[one.key] for one in held]), _labels(held)) for of, held in groups.items()]
    alike = [Alike(of, len(groups[of]), _with(cost, labels, costs)) for of, cost, labels in sums]
    labels = _labels(students)
    return Students(len(students), _with(together([cost for _, cost, _ in sums]), labels, costs), labels, alike)


def _labels(students: Iterable[Student]) -> list[str]:
    return list(dict.fromkeys([one.labels for one in students if one.labels]))


def _with(cost: Cost, labels: Sequence[str], costs: Mapping[str, Cost]) -> Cost | None:
    if any(key not in costs for key in labels):
        return None
    return together([cost, *(costs[key] for key in labels)]) if labels else cost
