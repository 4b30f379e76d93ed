"""Rows of `cost.csv`: what each condensed set cost, beside one full training, its students and its bytes. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from condhpc.findings import Row
from condhpc.ledger import Entry
from condhpc.lineage import Lineage
from condhpc.manifest import External
from condhpc.measures import without_record
from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.set_costs import consumption, set_costs
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


Which = tuple[str, str, str]
"""Dataset, protocol and student: what a student and its like on all training data have in common."""


class Full(NamedTuple):
    """One training on all the data, and one of a student on the set, under the same protocol where there is one."""

    name: str
    full: Cost
    student: Cost | None


class Student(NamedTuple):
    """A recorded student of a set, as costs see it."""

    key: str
    labels: str
    """The task that wrote the labels that it read; empty where it read none."""
    which: Which


class CostTable:
    """Costs of the condensed sets of a plan."""

    def __init__(
        self,
        plan: Sequence[PlanLine],
        lineage: Lineage,
        entries: Mapping[str, Entry],
        costs: TaskCosts,
        students: Mapping[str, Sequence[Student]] | None = None,
    ) -> None:
        """`students`: of each set that is asked for, where the plan is but a part of one, in the order of the whole."""
        self._lines = {line.key: line for line in plan}
        self._entries = entries
        self._costs = costs
        self._shares = consumption(plan, lineage)
        self._told = set_costs(plan, lineage, entries)
        self._references: dict[Which, list[str]] = {}
        self._teachers: dict[str | None, str] = {}
        for line in plan:
            self._file(line)
        self._students = _students(plan, entries) if students is None else students

    def _file(self, line: PlanLine) -> None:
        label = line.label
        if line.stage == "evaluate" and label.condenser == FULL and line.key in self._entries:
            self._references.setdefault(_which(label), []).append(line.key)
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
            evaluated = self._students.get(key, ())
            students = self._sum(evaluated)
            made = _declared(block) if block is not None else self._constructed(key, evaluated, students)
            yield (
                label.dataset, label.condenser, label.ipc, label.set_seed, status, *made, len(evaluated),
                *_figures(students, of=False), values.get("set_bytes"), values.get("soft_label_bytes"),
                self._label_bytes(evaluated), *self._said(key, block), key,
            )  # fmt: skip

    def _constructed(self, key: str, evaluated: Sequence[Student], students: Cost | None) -> tuple[Cell, ...]:
        """Columns `cost` to `standalone_break_even_reuses`, measured."""
        shares = self._shares[key]
        own = self._costs.productive.get(key)
        alone = added(self._costs.productive, dict.fromkeys(shares, 1.0))
        amortised = _figures(added(self._costs.productive, {one: float(n) for one, n in shares.items()}), of=False)
        return (
            "measured" if own is not None else None, *_figures(own, of=True), *_figures(alone, of=False),
            *amortised[1:4], printable(self._told[key].shared_by), *self._waste(key),
            *_against_full(own, alone, self._full(self._lines[key], evaluated, students)),
        )  # fmt: skip

    def _waste(self, key: str) -> tuple[Cell, Cell]:
        """Of the set's own task and its parts."""
        line = self._lines[key]
        tasks = [key, *(one for role, one in line.inputs.items() if role.startswith("shard."))]
        lost = [self._costs.wasted.get(task, (0.0, 0.0)) for task in tasks]
        return _h(math.fsum(gpu for gpu, _ in lost)), _h(math.fsum(cpu for _, cpu in lost))

    def _sum(self, evaluated: Sequence[Student]) -> Cost | None:
        """Of students, with the label files that they read, each once."""
        if not evaluated:
            return None
        labels = dict.fromkeys(one.labels for one in evaluated if one.labels)
        return added(self._costs.productive, dict.fromkeys([*(one.key for one in evaluated), *labels], 1.0))

    def _label_bytes(self, evaluated: Sequence[Student]) -> int | None:
        """Of the label files that its students read."""
        labels = dict.fromkeys(one.labels for one in evaluated if one.labels)
        known = [self._entries[key].values.get("label_bytes", 0) for key in labels if key in self._entries]
        return sum(int(n) for n in known) if evaluated else None

    def _full(self, line: PlanLine, evaluated: Sequence[Student], students: Cost | None) -> Full | None:
        """The like of the set's first student that was trained on all data, else any reference, else a teacher."""
        pairs = [one.which for one in evaluated]
        of_dataset = [which for which in self._references if which[0] == (line.label.dataset or "")]
        which = next((pair for pair in [*pairs, *of_dataset] if pair in self._references), None)
        alike = [one for one, pair in zip(evaluated, pairs, strict=True) if pair == which] or evaluated
        student = _divided(students if len(alike) == len(evaluated) else self._sum(alike), len(alike))
        if which is not None:
            keys = self._references[which]
            full = added(self._costs.productive, dict.fromkeys(keys, float(len(keys))))
            return None if full is None else Full(f"{FULL} {which[1]} {which[2]}, mean of {len(keys)}", full, student)
        teacher = self._teachers.get(line.label.dataset)
        if teacher is None:
            return None
        return Full(f"teacher {self._lines[teacher].label.role}", self._costs.productive[teacher], student)

    def _said(self, key: str, block: External | None) -> tuple[Cell, Cell, Cell]:
        """Columns `uncharged` to `source`; what a set made elsewhere rests on is its makers' business."""
        if block is not None:
            return None, None, printable(block.source) or None
        return printable(self._told[key].uncharged), printable(self._told[key].pretrained_on), None


def _which(label: Label) -> Which:
    return label.dataset or "", label.protocol or "", label.student or ""


def _students(plan: Iterable[PlanLine], entries: Mapping[str, Entry]) -> dict[str, list[Student]]:
    """The recorded ones by set."""
    found: dict[str, list[Student]] = {}
    for line in plan:
        if line.stage == "evaluate" and "set" in line.inputs and line.key in entries:
            one = Student(line.key, line.inputs.get("labels", ""), _which(line.label))
            found.setdefault(line.inputs["set"], []).append(one)
    return found


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
