"""The results of a run by cell, filled as evaluations are recorded: only cells with news are computed again."""

from __future__ import annotations

import math
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import msgspec

from condhpc import cell_statistics, study
from condhpc.briefs import EMPTY, Brief
from condhpc.cell_statistics import Evaluation
from condhpc.comparisons import BASELINE, CellId
from condhpc.findings import Row
from condhpc.layout import RunFolder
from condhpc.outlook import CellResult, SeedResult
from condhpc.planned import Label
from condhpc.references import REFERENCES
from condhpc.task_state import BAD

_DECIMALS = 6
_DIGITS = 12
_J_PER_KWH = 3.6e6
_PERSON = BAD | {"over_budget"}
"""States that do not pass by themselves."""


class _Set:
    """One condensed set: what measures it. Tasks by their position in the plan."""

    def __init__(self) -> None:
        self.at = -1
        self.condenser = ""
        self.shards: tuple[int, ...] = ()
        self.analyses: dict[int, str] = {}
        """To the metric."""
        self.cells: dict[CellId, None] = {}


class _Rivals(NamedTuple):
    """Cells that are compared: all but the condenser in common."""

    dataset: str
    ipc: int | None
    protocol: str
    student: str


class Pivot:
    """Results by cell, in the order of the plan; tasks are named by their position in it."""

    def __init__(
        self,
        run: RunFolder,
        row: Callable[[int], Row],
        brief: Callable[[int], Brief],
        value: Callable[[int], float | None],
    ) -> None:
        self._declared = study.declared(run)
        self._row = row
        self._brief = brief
        self._value = value
        self._students: dict[CellId, array[int]] = {}
        self._names: dict[CellId, CellId] = {}
        """Each cell's name once in memory."""
        self._cell_at: list[CellId | None] = []
        self._set_at: list[_Set | None] = []
        """Of evaluations, analyses, sets and shards."""
        self._rivals: dict[_Rivals, list[CellId]] = defaultdict(list)
        self._cells: dict[CellId, CellResult] = {}
        self._dirty: dict[CellId, None] = {}

    def plan(self, rows: Sequence[Row], inputs: Iterable[dict[str, str]], at: Mapping[str, int]) -> None:
        """Take in the plan once: its rows, each one's inputs in the same order, and positions by key."""
        self._cell_at = [None] * len(rows)
        self._set_at = [None] * len(rows)
        sets: dict[str, _Set] = defaultdict(_Set)
        for number, (row, of_row) in enumerate(zip(rows, inputs, strict=True)):
            if row.stage == "condense" and row.label.shard is None:
                held = sets[row.key]
                held.at, held.condenser = number, row.label.condenser or ""
                held.shards = tuple(at[key] for role, key in of_row.items() if role.startswith("shard.") and key in at)
                for part in (number, *held.shards):
                    self._set_at[part] = held
            elif row.stage in {"evaluate", "analyze"}:
                of_set = sets[of_row["set"]] if "set" in of_row else None
                self._set_at[number] = of_set
                if row.stage == "evaluate":
                    self._plan_evaluation(number, row, of_set)
                elif of_set is not None:
                    of_set.analyses[number] = row.label.metric or ""

    def _plan_evaluation(self, number: int, row: Row, of_set: _Set | None) -> None:
        which = _cell(row.label)
        which = self._names.setdefault(which, which)
        if which not in self._students:
            self._students[which] = array("I")
            self._rivals[_rivals(which)].append(which)
            self._dirty[which] = None
        self._students[which].append(number)
        self._cell_at[number] = which
        if of_set is not None:
            of_set.cells[which] = None

    def change(self, number: int) -> None:
        """A task's state, or what is known of it, is another one now."""
        which, of_set = self._cell_at[number], self._set_at[number]
        if which is not None:
            self._dirty[which] = None
        elif of_set is not None:
            self._dirty.update(of_set.cells)

    def compute(self, until_s: float = math.inf, clock: Callable[[], float] = time.monotonic) -> bool:
        """Bring cells up to date until this time of the clock; whether all are."""
        touched: dict[_Rivals, None] = {}
        while self._dirty and clock() < until_s:
            which = next(iter(self._dirty))
            del self._dirty[which]
            self._cells[which] = self._computed(which)
            touched[_rivals(which)] = None
        for rivals in touched:
            self._compare(self._rivals[rivals])
        return not self._dirty

    def now(self) -> list[CellResult]:
        """Every cell that was computed so far."""
        return [self._cells[which] for which in self._students if which in self._cells]

    def _computed(self, which: CellId) -> CellResult:
        students = self._students[which]
        rows = [self._row(at) for at in students]
        known = (self._value(at) for at in students)
        values = [value if row.state == "recorded" else None for value, row in zip(known, rows, strict=True)]
        seeds = [
            SeedResult(
                set_seed=row.label.set_seed,
                student_seed=row.label.student_seed,
                key=row.key,
                state=row.state,
                top1_pct=value,
            )
            for row, value in zip(rows, values, strict=True)
        ]
        found = [Evaluation(seed.set_seed, seed.top1_pct) for seed in seeds if seed.top1_pct is not None]
        mean, sd = cell_statistics.centre(found)
        recorded = sum(row.state == "recorded" for row in rows)
        failed = sum(row.state in _PERSON for row in rows)
        return CellResult(
            **which._asdict(),
            planned=len(rows),
            n=len(found),
            pending=len(rows) - recorded - failed,
            failed=failed,
            mean_pct=mean,
            sd_pct=sd,
            seeds=seeds,
            measures=self._measures(dict.fromkeys(held for at in students if (held := self._set_at[at]) is not None)),
        )

    def _compare(self, cells: list[CellId]) -> None:
        """Against random and among each other, of those that were computed."""
        means = {which: held.mean_pct for which in cells if (held := self._cells.get(which)) is not None}
        rated = [mean for which, mean in means.items() if mean is not None and which.condenser not in REFERENCES]
        best = max(rated, default=None)
        base = next((mean for which, mean in means.items() if which.condenser == BASELINE), None)
        for which, mean in means.items():
            alone = mean is None or base is None or which.condenser == BASELINE
            over = None if alone else round((mean or 0.0) - (base or 0.0), _DECIMALS)
            is_best = mean is not None and mean == best and which.condenser not in REFERENCES
            held = self._cells[which]
            if (held.over_random_pct, held.is_best) != (over, is_best):
                self._cells[which] = msgspec.structs.replace(held, over_random_pct=over, is_best=is_best)

    # -- measures ------------------------------------------------------------------------------------------------

    def _measures(self, sets: Iterable[_Set]) -> dict[str, float]:
        """Means over the sets that have a value."""
        values: dict[str, list[float]] = defaultdict(list)
        for held in sets:
            for name, value in self._of_set(held):
                values[name].append(value)
        return {name: float(f"{fmean(of_name):.{_DIGITS}g}") for name, of_name in values.items()}

    def _of_set(self, held: _Set) -> Iterator[tuple[str, float]]:
        by_metric: dict[str, list[float]] = defaultdict(list)
        for at, metric in held.analyses.items():
            value = self._value(at)
            if value is not None:
                by_metric[metric].append(value)
        yield from ((metric, fmean(of_metric)) for metric, of_metric in by_metric.items())
        block = self._declared.get(held.condenser)
        if block is not None:
            told = (("gpu_h", block.gpu_h), ("cpu_h", block.cpu_h), ("kwh", block.kwh))
            yield from ((name, value) for name, value in told if value is not None)
        else:
            yield from self._construction(held)

    def _construction(self, held: _Set) -> Iterator[tuple[str, float]]:
        """Of a recorded set's own task, its parts and the attempts whose checkpoints it went on from."""
        own = self._brief(held.at) if held.at >= 0 else EMPTY
        if not own.is_recorded:
            return
        parts = [self._brief(at) for at in held.shards]
        spent = [one for one in own.tried if one.productive]
        yield "gpu_h", (sum(one.gpu_s for one in spent) + own.shards_gpu_s) / 3600
        yield "cpu_h", (sum(one.cpu_s for one in spent) + own.shards_cpu_s) / 3600
        spent += [one for part in parts for one in part.tried if one.productive]
        joules = [one.joules for one in spent if one.joules is not None]
        apart = bool(own.shards_gpu_s or own.shards_cpu_s)
        if len(joules) == len(spent) and all(part.is_recorded for part in parts) and (parts or not apart):
            yield "kwh", sum(joules) / _J_PER_KWH


def _cell(label: Label) -> CellId:
    return CellId(label.dataset or "", label.condenser or "", label.ipc, label.protocol or "", label.student or "")


def _rivals(which: CellId) -> _Rivals:
    return _Rivals(which.dataset, which.ipc, which.protocol, which.student)
