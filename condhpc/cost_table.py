"""Rows of `cost.csv`: what each condensed set cost, beside one full training, its students and its bytes. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from condhpc import student_costs
from condhpc.findings import Row
from condhpc.ledger import Entry
from condhpc.lineage import Lineage
from condhpc.manifest import External
from condhpc.measures import without_record
from condhpc.runs import PlanLine
from condhpc.set_costs import consumption, set_costs
from condhpc.student_costs import NOBODY, Alike, Students, Which, which
from condhpc.tables import Cell, printable
from condhpc.task_costs import UNKNOWN_TYPE, Cost, TaskCosts, added

COST = (
    "dataset", "condenser", "ipc", "set_seed", "status", "cost", "gpu_types", "gpu_h", "cpu_h", "kwh", "energy_grade",
    "energy_of", "standalone_gpu_types", "standalone_gpu_h", "standalone_cpu_h", "standalone_kwh",
    "standalone_energy_grade", "amortised_gpu_h", "amortised_cpu_h", "amortised_kwh", "shared_by", "waste_gpu_h",
    "waste_cpu_h", "full_training", "full_gpu_types", "full_gpu_h", "full_cpu_h", "full_kwh", "compared_in",
    "over_full", "standalone_over_full", "kwh_over_full", "break_even_reuses", "standalone_break_even_reuses",
    "students", "evaluation_gpu_types", "evaluation_gpu_h", "evaluation_cpu_h", "evaluation_kwh",
    "evaluation_energy_grade", "set_bytes", "soft_label_bytes", "cached_label_bytes", "uncharged", "pretrained_on",
    "source", "set_key",
)  # fmt: skip
MIXED = "n/a"
"""Where GPU types are mixed, or nobody measured."""
FULL = "full_schedule"
_DECIMALS = 6
_HOUR_S = 3600.0


class Full(NamedTuple):
    """One training on all the data, and one of a student on the set, under the same protocol where there is one."""

    name: str
    full: Cost
    student: Cost | None


class CostTable:
    """Costs of the condensed sets of a plan."""

    def __init__(
        self,
        plan: Sequence[PlanLine],
        lineage: Lineage,
        entries: Mapping[str, Entry],
        costs: TaskCosts,
        students: Mapping[str, Students] | None = None,
    ) -> None:
        """`students`: of each set that is asked for, where the plan is but a part of one."""
        self._lines = {line.key: line for line in plan}
        self._entries = entries
        self._costs = costs
        self._shares = consumption(plan, lineage)
        self._told = set_costs(plan, lineage, entries)
        self._references: dict[Which, list[str]] = {}
        self._teachers: dict[str | None, str] = {}
        for line in plan:
            self._file(line)
        self.students = students if students is not None else _students(plan, costs)

    def _file(self, line: PlanLine) -> None:
        label = line.label
        if line.stage == "evaluate" and label.condenser == FULL and line.key in self._entries:
            self._references.setdefault(which(label), []).append(line.key)
        elif line.stage == "teacher" and label.role != "judge" and self._is_trained(line.key):
            self._teachers.setdefault(label.dataset, line.key)

    def _is_trained(self, key: str) -> bool:
        return key in self._entries and self._entries[key].values.get("source") == "trained"

    def rows(
        self, declared: Mapping[str, External], states: Mapping[str, Row], only: Collection[str] | None = None
    ) -> Iterator[tuple[Cell, ...]]:
        """One per planned set, or per one of these keys, in the order of the plan."""
        for key in (key for key in self._shares if only is None or key in only):
            line, entry = self._lines[key], self._entries.get(key)
            label = line.label
            block = declared.get(label.condenser or "")
            status = "recorded" if entry is not None else without_record(states.get(key))
            values = entry.values if entry is not None else {}
            students = self.students.get(key, NOBODY)
            made = _declared(block) if block is not None else self._constructed(key, students)
            yield (
                label.dataset, label.condenser, label.ipc, label.set_seed, status, *made, students.count,
                *_figures(students.cost, of=False), values.get("set_bytes"), values.get("soft_label_bytes"),
                self._label_bytes(students), *self._said(key, block), key,
            )  # fmt: skip

    def _constructed(self, key: str, students: Students) -> tuple[Cell, ...]:
        """Columns `cost` to `standalone_break_even_reuses`, measured."""
        shares = self._shares[key]
        own = self._costs.productive.get(key)
        alone = added(self._costs.productive, dict.fromkeys(shares, 1.0))
        amortised = _figures(added(self._costs.productive, {one: float(n) for one, n in shares.items()}), of=False)
        return (
            "measured" if own is not None else None, *_figures(own, of=True), *_figures(alone, of=False),
            *amortised[1:4], printable(self._told[key].shared_by), *self._waste(key),
            *_against_full(own, alone, self._full(self._lines[key], students)),
        )  # fmt: skip

    def _waste(self, key: str) -> tuple[Cell, Cell]:
        """Of the set's own task and its parts."""
        line = self._lines[key]
        tasks = [key, *(one for role, one in line.inputs.items() if role.startswith("shard."))]
        lost = [self._costs.wasted.get(task, (0.0, 0.0)) for task in tasks]
        return _h(math.fsum(gpu for gpu, _ in lost)), _h(math.fsum(cpu for _, cpu in lost))

    def _label_bytes(self, students: Students) -> int | None:
        """Of the label files that they read."""
        known = [self._entries[key].values.get("label_bytes", 0) for key in students.labels if key in self._entries]
        return sum(int(n) for n in known) if students.count else None

    def _full(self, line: PlanLine, students: Students) -> Full | None:
        """The like of the set's first student that was trained on all data, else any reference, else a teacher."""
        of_dataset = (of for of in self._references if of[0] == (line.label.dataset or ""))
        candidates = chain((one.which for one in students.alike), of_dataset)
        found = next((of for of in candidates if of in self._references), None)
        alike: Alike | Students = next((one for one in students.alike if one.which == found), students)
        student = _divided(alike.cost, alike.count)
        if found is not None:
            keys = self._references[found]
            full = added(self._costs.productive, dict.fromkeys(keys, float(len(keys))))
            return None if full is None else Full(f"{FULL} {found[1]} {found[2]}, mean of {len(keys)}", full, student)
        teacher = self._teachers.get(line.label.dataset)
        if teacher is None:
            return None
        return Full(f"teacher {self._lines[teacher].label.role}", self._costs.productive[teacher], student)

    def _said(self, key: str, block: External | None) -> tuple[Cell, Cell, Cell]:
        """Columns `uncharged` to `source`; what a set made elsewhere rests on is its makers' business."""
        if block is not None:
            return None, None, printable(block.source) or None
        return printable(self._told[key].uncharged), printable(self._told[key].pretrained_on), None


def _students(plan: Sequence[PlanLine], costs: TaskCosts) -> dict[str, Students]:
    """By set."""
    found = student_costs.of_plan(plan, costs.productive)
    return {key: student_costs.of_set(students, costs.productive) for key, students in found.items()}


def _declared(block: External) -> tuple[Cell, ...]:
    """Columns `cost` to `standalone_break_even_reuses` of a set made elsewhere: what its makers say, and no more."""
    known = block.gpu_h, block.cpu_h, block.kwh
    if all(value is None for value in known):
        return (MIXED, *(None,) * (COST.index("students") - COST.index("cost") - 1))
    figures = (MIXED if value is None else value for value in known)
    rest = COST.index("students") - COST.index("energy_grade")
    return ("declared", block.gpu_type or (UNKNOWN_TYPE if block.gpu_h else ""), *figures, *(None,) * rest)


def _figures(cost: Cost | None, *, of: bool) -> tuple[Cell, ...]:
    """GPU types, GPU-hours, core-hours, kWh, grade and, with `of`, what the energy is of; empty without a record."""
    if cost is None:
        return (None,) * (6 if of else 5)
    gpu_h: Cell = _h(cost.gpu_s) if len(cost.gpu_types) <= 1 else MIXED
    figures = (
        _types(cost),
        gpu_h,
        _h(cost.cpu_s),
        _kwh(cost),
        cost.used.grade if cost.used.joules is not None else "none",
    )
    return (*figures, cost.used.of) if of else figures


def _against_full(own: Cost | None, alone: Cost | None, found: Full | None) -> tuple[Cell, ...]:
    """Columns `full_training` to `standalone_break_even_reuses`."""
    if found is None:
        return (None,) * (COST.index("students") - COST.index("full_training"))
    _, full_gpu_h, full_cpu_h, full_kwh, _ = _figures(found.full, of=False)
    unit = "gpu_h" if found.full.gpu_s > 0 else "cpu_h"
    return (
        printable(found.name), _types(found.full), full_gpu_h, full_cpu_h, full_kwh, unit, _ratio(own, found.full),
        _ratio(alone, found.full), _energy_ratio(own, found.full), _break_even(own, found), _break_even(alone, found),
    )  # fmt: skip


def _ratio(cost: Cost | None, full: Cost) -> Cell:
    """Cost ÷ one full training in the unit in which both are to be had."""
    if cost is None:
        return None
    amounts = _comparable(cost, full)
    return MIXED if amounts is None or not amounts[1] else round(amounts[0] / amounts[1], _DECIMALS)


def _energy_ratio(cost: Cost | None, full: Cost) -> Cell:
    if cost is None:
        return None
    if cost.used.joules is None or not full.used.joules:
        return MIXED
    return round(cost.used.joules / full.used.joules, _DECIMALS)


def _break_even(cost: Cost | None, found: Full) -> Cell:
    """How many students on the set, instead of on all data, pay for it: the least N with C + N·student ≤ N·full."""
    if cost is None or found.student is None:
        return None
    amounts = _comparable(cost, found.full, found.student)
    if amounts is None:
        return MIXED
    made, full, student = amounts
    return math.ceil(made / (full - student)) if full > student else "never"


def _comparable(*costs: Cost) -> list[float] | None:
    """Their GPU seconds on one and the same known type, or CPU seconds where none had a GPU; else they do not compare.

    So what was chosen on CPUs is never free against a training on a GPU; the ratio of kWh tells.
    """
    types = frozenset[str]().union(*(cost.gpu_types for cost in costs))
    if not types:
        return [cost.cpu_s for cost in costs]
    alike = len(types) == 1 and UNKNOWN_TYPE not in types and all(cost.gpu_types for cost in costs)
    return [cost.gpu_s for cost in costs] if alike else None


def _divided(cost: Cost | None, count: int) -> Cost | None:
    return None if cost is None else added({"": cost}, {"": float(count)})


def _types(cost: Cost) -> str:
    return printable("; ".join(sorted(cost.gpu_types)))


def _kwh(cost: Cost) -> Cell:
    return MIXED if cost.used.kwh is None else round(cost.used.kwh, _DECIMALS + 3)


def _h(seconds: float) -> float:
    return round(seconds / _HOUR_S, _DECIMALS)
