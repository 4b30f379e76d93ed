"""Costs by stage, condenser and GPU type as tasks' own meters tell them, kept up to date task by task."""

from __future__ import annotations

from collections import Counter, defaultdict

from condhpc.briefs import Brief, Tried
from condhpc.energy import GRADES, Grade
from condhpc.outlook import CostLine
from condhpc.planned import Label
from condhpc.spec import STAGES, Stage

_J_PER_KWH = 3.6e6
_OWNED: frozenset[Stage] = frozenset({"prepare", "condense"})
"""Stages that work for one condenser; a task of another may serve several."""
_DECIMALS = 6


class _Sum:
    def __init__(self) -> None:
        self.tasks = 0
        self.gpu_s = self.cpu_s = self.joules = 0.0
        self.unknown = 0
        """Attempts whose energy nobody measured."""
        self.grades: Counter[Grade] = Counter()

    def add(self, one: Tried, sign: int) -> None:
        """Add an attempt, or take it away again."""
        self.gpu_s += sign * one.gpu_s
        self.cpu_s += sign * one.cpu_s
        if one.joules is not None:
            self.joules += sign * one.joules
            self.grades[one.grade] += sign
        elif one.gpu_s or one.cpu_s:
            self.unknown += sign

    @property
    def kwh(self) -> float | None:
        """None where one of them was not measured, or none was."""
        return None if self.unknown or not self.grades.total() else max(0.0, self.joules) / _J_PER_KWH

    @property
    def grade(self) -> str:
        """The worst of its figures; empty without a sum."""
        return "" if self.kwh is None else next(g for g in reversed(GRADES) if self.grades[g])


class CostSums:
    """Of all attempts of one run that ended, recorded or not."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._sums: dict[tuple[Stage, str, str], _Sum] = defaultdict(_Sum)
        self.waste_gpu_h: dict[str, float] = defaultdict(float)
        """By how attempts ended that led to nothing: of use where nobody keeps accounts."""
        self.waste_cpu_h: dict[str, float] = defaultdict(float)

    def change(self, stage: Stage, label: Label, before: Brief, after: Brief) -> None:
        """A task's attempts are others now; `before` is what was told of it last."""
        condenser = (label.condenser or "") if stage in _OWNED else ""
        for brief, sign in ((before, -1), (after, 1)):
            if not brief.tried:
                continue
            for gpu_type in {one.gpu_type for one in brief.tried if one.run == self._run}:
                self._sums[stage, condenser, gpu_type].tasks += sign
            for one in brief.tried:
                if one.run != self._run:
                    continue
                self._sums[stage, condenser, one.gpu_type].add(one, sign)
                if not one.productive:
                    self.waste_gpu_h[one.outcome] += sign * one.gpu_s / 3600
                    self.waste_cpu_h[one.outcome] += sign * one.cpu_s / 3600

    def lines(self) -> list[CostLine]:
        """In the order of the stages."""
        held = [(which, found) for which, found in self._sums.items() if found.tasks]
        held.sort(key=lambda item: (STAGES.index(item[0][0]), *item[0][1:]))
        return [
            CostLine(
                stage=stage,
                condenser=condenser,
                gpu_type=gpu_type,
                tasks=found.tasks,
                gpu_h=round(max(0.0, found.gpu_s) / 3600, _DECIMALS),
                cpu_h=round(max(0.0, found.cpu_s) / 3600, _DECIMALS),
                kwh=None if found.kwh is None else round(found.kwh, _DECIMALS + 3),
                grade=found.grade,
            )
            for (stage, condenser, gpu_type), found in held
        ]

    def unmeasured(self) -> int:
        """Attempts whose energy nobody measured."""
        return sum(found.unknown for found in self._sums.values())
