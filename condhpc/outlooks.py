"""Fills the outlook of a run's snapshots, again and again: what did not change since the last one costs nothing.

Whoever looks at a run for long gives each call a time slice: records of 100,000 tasks are then read over several calls,
and a note says how far that has come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from operator import is_not
from typing import TYPE_CHECKING, Protocol

import msgspec

from condhpc import briefs, runs
from condhpc.briefs import EMPTY, Brief, Briefs, Tried
from condhpc.charge_sums import ChargeSums
from condhpc.cost_model import gpu_named
from condhpc.cost_sums import CostSums
from condhpc.energy import GRADES
from condhpc.errors import first_few
from condhpc.failure_groups import FailureGroups
from condhpc.findings import Row, Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.outlook import PARTIAL, Costs, Outlook
from condhpc.pace import Paces
from condhpc.pivot import Pivot
from condhpc.spent_budget import Budgets
from condhpc.task_state import BAD
from condhpc.turns import give_way

if TYPE_CHECKING:
    from condhpc.spending import Standing

SLICE_S = 1.5
"""For a screen that asks every few seconds."""
_READING, _ADDING = 0.7, 0.9
"""Share of a slice after which reading ends, and adding up results: what was read is shown at once."""
_BATCH = 200
"""Records between two looks at the clock."""
_DECIMALS = 6


class Outlooks:
    """Of one run. Costs and results rest on its records, diaries and accounting on disk; nobody is asked."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        *,
        positions: Mapping[str, int] | None = None,
        slice_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`positions`: places in the plan by key, where somebody has them already: of 100,000 tasks they take 5 MB."""
        self._run = run
        self._layout = layout
        self._positions = positions
        self._slice_s = slice_s
        self._clock = clock
        self._budgets = Budgets(run, layout)
        self._rows: list[Row] = []
        self._start([])

    def _start(self, rows: Sequence[Row]) -> None:
        """Forget all; a run's plan never changes, so this happens once."""
        self._rows = []
        self._count = len(rows)
        self._at = self._positions or {row.key: at for at, row in enumerate(rows)}
        self._briefs = Briefs(len(rows))
        self._todo: dict[int, None] = {}
        self._read_so_far = 0
        self._unreadable: dict[str, str] = {}
        self._charges = ChargeSums(self._run, self._tried)
        self._costs = CostSums(self._run.name)
        self._paces = Paces()
        self._failures = FailureGroups(
            self._run, self._layout, self._charges.of_element, self._brief_of, self._at.__getitem__
        )
        self._pivot = Pivot(self._run, self._row, self._brief, self._briefs.value)
        if rows:
            self._pivot.plan(rows, runs.inputs(self._run), self._at)

    def added(self, shot: Snapshot, standing: Standing | None = None) -> Snapshot:
        """The snapshot with its outlook; counts of calls stay. `standing`: what the budget was just heard to be."""
        return msgspec.structs.replace(shot, outlook=self.of(shot, standing))

    def of(self, shot: Snapshot, standing: Standing | None = None) -> Outlook:
        """What there is to say of a snapshot beyond its tasks."""
        now_s = self._clock()
        self._take(shot.rows)
        self._read(now_s + _READING * self._slice_s)
        if self._charges.read():
            self._failures.charged_anew()
        shown = self._pivot.compute(now_s + _ADDING * self._slice_s, self._clock)
        summed = self._charges.sum_up(now_s + self._slice_s, self._clock)
        pace, left_s = self._paces.now(shot.taken_s)
        costs = self._costs_now(standing)
        return Outlook(
            pace=pace,
            left_s=left_s,
            calls=shot.outlook.calls,
            costs=costs,
            failures=self._failures.now(),
            cells=self._pivot.now(),
            notes=list(self._notes(costs, complete=summed and shown)),
        )

    # -- taking in what changed ----------------------------------------------------------------------------------

    def _row(self, at: int) -> Row:
        return self._rows[at]

    def _brief(self, at: int) -> Brief:
        return self._briefs[at]

    def _brief_of(self, key: str) -> Brief:
        return self._briefs[self._at[key]]

    def _tried(self, key: str) -> tuple[Tried, ...]:
        return self._briefs[self._at[key]].tried

    def _take(self, rows: Sequence[Row]) -> None:
        if len(rows) != self._count:
            self._start(rows)
        before: list[Row] = self._rows
        self._rows = list(rows)
        if not before:
            for at, row in enumerate(self._rows):
                self._change(at, None, row)
            return
        for at in list(compress(range(len(rows)), map(is_not, before, self._rows))):
            if before[at] != self._rows[at]:
                self._change(at, before[at], self._rows[at])

    def _change(self, at: int, before: Row | None, row: Row) -> None:
        self._paces.change(before, row)
        if row.state in BAD or (before is not None and before.state in BAD):
            self._failures.change(row)
        moved = before is None or before.state != row.state
        if moved and before is not None:
            self._pivot.change(at)
        if moved or (before is not None and before.attempts != row.attempts):
            if row.state == "recorded" or (row.attempts or 0) > (row.state == "running"):
                self._todo[at] = None
            elif not self._briefs.is_empty(at):
                self._replace(at, row, EMPTY)

    def _read(self, until_s: float) -> None:
        """Records and diaries of tasks with news, as many as there is time for."""
        while self._todo and self._clock() < until_s:
            batch = list(islice(self._todo, _BATCH))
            for at in batch:
                give_way()
                del self._todo[at]
                self._replace(at, self._rows[at], self._found(self._rows[at]))
            self._read_so_far += len(batch)
        if not self._todo:
            self._todo = {}  # one that was emptied is as large as ever

    def _found(self, row: Row) -> Brief:
        self._unreadable.pop(row.key, None)
        try:
            if row.state == "recorded":
                return briefs.of_record(self._layout, row.stage, row.key)
            return briefs.of_diaries(self._layout, row.stage, row.key, running=row.state == "running")
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors, and bytes that are not UTF-8
            self._unreadable[row.key] = str(error)
            return EMPTY

    def _replace(self, at: int, row: Row, brief: Brief) -> None:
        before = self._briefs[at]
        self._briefs[at] = brief
        self._costs.change(row.stage, row.label, before, brief)
        self._charges.change(row.key, before.tried, brief.tried)
        self._pivot.change(at)
        if row.state in BAD:
            self._failures.change(row)

    # -- putting it together -------------------------------------------------------------------------------------

    def _costs_now(self, standing: Standing | None) -> Costs:
        lines = self._costs.lines()
        source = self._charges.source
        charged = dict(self._charges.gpu_h) if source else _by_type((line.gpu_type, line.gpu_h) for line in lines)
        waste = self._charges if source else self._costs
        known = [line.kwh for line in lines if line.kwh is not None]
        kwh = round(sum(known), _DECIMALS) if known and len(known) == len(lines) else None
        cpu_h = self._charges.cpu_h if source else sum(line.cpu_h for line in lines)
        planned = self._budgets.planned()
        return Costs(
            source=source or "records",
            lines=lines,
            gpu_h=_rounded(charged),
            cpu_h=round(cpu_h, _DECIMALS),
            kwh=kwh,
            grade=max((line.grade for line in lines), key=GRADES.index) if kwh is not None else "",
            planned_gpu_h=_as_charged(planned.gpu_h, charged),
            planned_cpu_h=planned.cpu_h,
            budget=self._budgets.lines(standing, sum(charged.values()), cpu_h, kwh),
            waste_gpu_h=_rounded(waste.waste_gpu_h),
            waste_cpu_h=_rounded(waste.waste_cpu_h),
        )

    def _notes(self, costs: Costs, *, complete: bool) -> Iterator[str]:
        if self._todo:
            total = len(self._todo) + self._read_so_far
            yield f"{PARTIAL} of {self._read_so_far} of {total} tasks: more are being read"
        elif not complete:
            yield f"{PARTIAL} being added up"
        if self._unreadable:
            named = first_few([f"{key[:12]} ({why})" for key, why in self._unreadable.items()], 3)
            yield f"{len(self._unreadable)} records or diaries cannot be read and do not count: {named}"
        if unmeasured := self._costs.unmeasured():
            yield f"kWh: nobody measured {unmeasured} attempts"
        if costs.source == "attempts":
            yield "the accounting has said nothing so far: hours are those of condhpc's own attempts"
        yield from self._budgets.notes()
        yield from self._charges.problems


class Source(Protocol):
    """Where snapshots come from: `observe.Observer`."""

    def snapshot(self) -> Snapshot:
        """The run now."""


class Filled:
    """Snapshots of a source with their outlooks."""

    def __init__(self, source: Source, outlooks: Outlooks) -> None:
        self._source = source
        self._outlooks = outlooks

    def snapshot(self) -> Snapshot:
        """The run now."""
        return self._outlooks.added(self._source.snapshot())


def _as_charged(planned: Mapping[str, tuple[float, float]], charged: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Planned hours under the names that charges have: a plan says `H100` where Slurm says `h100`."""
    said: dict[str, str] = {}
    for name in charged:
        gpu = gpu_named(name)
        if gpu is not None and said.setdefault(gpu.name, name) != name:
            said[gpu.name] = gpu.name  # two kinds of one family: it is either
    return {said.get(name, name): hours for name, hours in planned.items()}


def _by_type(found: Iterator[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for kind, hours in found:
        if kind:
            sums[kind] = sums.get(kind, 0.0) + hours
    return sums


def _rounded(hours: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DECIMALS) for name, value in sorted(hours.items()) if round(value, _DECIMALS) > 0}
