"""From the records of a run to CSV tables: results, cells, scores, condensed sets, measures and failures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from condhpc import accounting_tables, demands, ledger, runs, store, typed_toml
from condhpc.cell_statistics import Evaluation
from condhpc.comparisons import CellId, CellResult, Comparison, Scores
from condhpc.errors import InputError, StoreError, UnknownNameError
from condhpc.findings import Row, Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.ledger import Entry
from condhpc.lineage import Lineage
from condhpc.manifest import External
from condhpc.measures import (
    METRIC_CELLS,
    METRICS,
    Measure,
    Measured,
    measured,
    metric_cell_rows,
    metric_rows,
    without_record,
)
from condhpc.planned import Label
from condhpc.predictions import Recorded
from condhpc.run_view import RunView
from condhpc.runs import PlanLine
from condhpc.set_costs import SetCost, cost_of, set_costs
from condhpc.spec import Protocol, Stage
from condhpc.tables import Cell, printable, write_csv
from condhpc.task_state import BAD

RESULTS = (
    "dataset", "condenser", "kind", "ipc", "protocol", "student", "set_seed", "student_seed", "top1_pct", "test_count",
    "steps", "batch", "resolution", "train_count", "label_bytes", "label_cpu_s", "label_gpu_s", "top1_pct_best",
    "wall_s", "cpu_s", "gpu_s", "device", "attempts", "evaluate_key", "set_key",
)  # fmt: skip
SETS = (
    "dataset", "condenser", "kind", "ipc", "set_seed", "status", "count", "set_bytes", "soft_label_bytes", "cost",
    "wall_s", "cpu_s", "gpu_s", "gpu_h", "gpu_type", "cpu_h", "kwh", "source", "standalone_cpu_s", "standalone_gpu_s",
    "amortised_cpu_s", "amortised_gpu_s", "shared_by", "uncharged", "pretrained_on", "predicted_gpu_s",
    "gpu_s_over_predicted",
    "set_key",
)  # fmt: skip
CELLS = (
    "dataset", "condenser", "ipc", "protocol", "student", "status", "n", "n_planned", "n_sets", "top1_pct_mean",
    "top1_pct_sd", "top1_pct_ci95_low", "top1_pct_ci95_high", "ci_over",
)  # fmt: skip
SCORES = (
    "dataset", "condenser", "ipc", "protocol", "student", "status", "hlr", "ior", "ior_ci95_low", "ior_ci95_high",
    "ior_ci_over", "lrs", "ars", "gap_to_full", "hard_protocol", "raw_protocol", "full_reference", "reason",
)  # fmt: skip
FAILURES = (
    "key", "stage", "dataset", "condenser", "ipc", "protocol", "student", "set_seed", "student_seed", "metric", "role",
    "state", "attempt", "reason", "job", "host", "log",
)  # fmt: skip
TABLE = ("dataset", "condenser", "ipc", "protocol", "student", "n", "top1 %", "± 95 %", "status")
SCORE_TABLE = ("dataset", "condenser", "ipc", "protocol", "student", "hlr", "ior", "lrs", "ars", "gap_to_full")
_UNKNOWN = "n/a"
_DECIMALS = 3


class Collected(msgspec.Struct, frozen=True):
    """What `collect` wrote."""

    paths: list[Path]
    header: tuple[str, ...]
    table: list[tuple[Cell, ...]]
    """The cells for the screen, in the order of the plan."""
    scores: list[tuple[Cell, ...]]
    """Their scores for the screen, under SCORE_TABLE."""
    problems: list[str]
    """One line per record that could not be used."""


class _Values(msgspec.Struct, frozen=True, gc=False):
    """What an evaluation's record says, beside its per-image bits."""

    top1_pct: float
    test_count: int
    steps: int | None = None
    batch: int | None = None
    resolution: int | None = None
    train_count: int | None = None
    label_bytes: int | None = None
    top1_pct_best: float | None = None
    """Of the tests on the way of a native protocol: chosen on test data, for comparison with publications alone."""


def collect(run: RunFolder, layout: Layout, out_dir: Path, shot: Snapshot) -> Collected:
    """Write all tables as CSV; `shot` says what became of unrecorded tasks.

    Only the tables are written, and from equal records the same bytes.
    """
    plan = runs.plan(run)
    records = ledger.read(layout, ((line.stage, line.key) for line in plan))
    tables = _Tables(run, layout, plan, shot, records)
    cells = tables.cells()
    scores = list(Comparison(cells, _protocol).rows())
    measures = tables.measures()
    declared = _declared(run)
    cost = accounting_tables.tables(run, layout, plan, Lineage(plan), records.entries, declared, tables.states)
    tables.problems += cost.problems
    written: list[tuple[str, Sequence[str], Iterable[tuple[Cell, ...]]]] = [
        ("results.csv", RESULTS, tables.results()),
        ("cells.csv", CELLS, (_cell_row(*cell) for cell in cells.items())),
        ("scores.csv", SCORES, ((*which, *found) for which, found in scores)),
        ("sets.csv", SETS, tables.sets(declared)),
        ("metrics.csv", METRICS, metric_rows(measures, tables.states)),
        ("metric_cells.csv", METRIC_CELLS, metric_cell_rows(measures)),
        ("failures.csv", FAILURES, tables.failures()),
        *cost.tables,
    ]
    paths = [write_csv(out_dir / name, header, rows) for name, header, rows in written]
    shown = [_screen_row(*cell) for cell in cells.items()]
    return Collected(paths, TABLE, shown, [_screen_scores(*row) for row in scores], tables.problems)


def _protocol(name: str) -> Protocol | None:
    """By its name; None for one of a package that is not installed here."""
    try:
        return demands.protocol(name)
    except UnknownNameError:
        return None


def _declared(run: RunFolder) -> dict[str, External]:
    """What the run's manifest says of sets made elsewhere."""
    try:
        _, tables = typed_toml.read(run.manifest)
        return msgspec.convert(tables.get("external", {}), dict[str, External])
    except (InputError, msgspec.ValidationError):
        return {}  # the run was planned from it, so it is there; costs that cannot be read are not known


def _head(label: Label) -> CellId:
    return CellId(label.dataset or "", label.condenser or "", label.ipc, label.protocol or "", label.student or "")


def _costs(entry: Entry | None, block: External | None) -> tuple[Cell, ...]:
    """Columns `cost` to `source`: measured, declared, or n/a where nobody knows what a set has cost."""
    if block is None:
        measured = (cost_of(entry, name) for name in ("wall_s", "cpu_s", "gpu_s")) if entry is not None else (None,) * 3
        return ("measured" if entry is not None else None, *measured, None, None, None, None, None)
    known = [block.gpu_h, block.gpu_type or None, block.cpu_h, block.kwh]
    if all(value is None for value in (block.gpu_h, block.cpu_h, block.kwh)):
        return ("n/a", *(None,) * 7, block.source or None)
    declared = (_UNKNOWN if value is None else value for value in known)
    return ("declared", None, None, None, *declared, block.source or None)


def _charged(cost: SetCost, *, external: bool) -> tuple[Cell, ...]:
    """Columns `standalone_cpu_s` to `pretrained_on`; what a set made elsewhere rests on is its makers' business."""
    return (None,) * len(cost) if external else (*cost[:4], *map(printable, cost[4:]))


def _status(cell: CellResult) -> str:
    n = cell.statistics.n
    return "missing" if not n else "complete" if n == cell.planned else "partial"


def _cell_row(which: CellId, cell: CellResult) -> tuple[Cell, ...]:
    found = cell.statistics
    numbers = found.mean, found.sd, found.low, found.high
    return *which, _status(cell), found.n, cell.planned, found.n_sets, *numbers, found.over


def _screen_row(which: CellId, cell: CellResult) -> tuple[Cell, ...]:
    found = cell.statistics
    half = None if found.high is None or found.low is None else (found.high - found.low) / 2
    return *which, found.n, found.mean, half, _status(cell)


def _screen_scores(which: CellId, scores: Scores) -> tuple[Cell, ...]:
    return *which, scores.hlr, scores.ior, scores.lrs, scores.ars, scores.gap_to_full


class _Tables:
    """The rows of each table."""

    def __init__(
        self, run: RunFolder, layout: Layout, plan: list[PlanLine], shot: Snapshot, records: ledger.Ledger
    ) -> None:
        self._run = run
        self._layout = layout
        self._plan = plan
        self._lineage = Lineage(plan)
        self._recorded = Recorded(layout)
        self.states = {row.key: row for row in shot.rows}
        self.problems = list(records.problems)
        self._entries = records.entries
        self._evaluations = dict(self._typed("evaluate", _Values))
        self._measures = dict(self._typed("analyze", Measure))
        self._kinds: dict[str, str] = {}

    def _typed(self, stage: Stage, wanted: type[Any]) -> Iterator[tuple[str, Any]]:
        for entry in (e for e in self._entries.values() if e.stage == stage):
            try:
                yield entry.key, msgspec.convert(entry.values, wanted)
            except msgspec.ValidationError as error:
                folder = self._layout.task(stage, entry.key).path
                self.problems.append(f"{folder}: its record does not fit ({error}); delete the folder and submit again")

    def results(self) -> Iterator[tuple[Cell, ...]]:
        """One row per recorded evaluation, in the order of the plan."""
        for line in self._plan:
            values: _Values | None = self._evaluations.get(line.key)
            if values is None:
                continue
            entry: Entry = self._entries[line.key]
            dataset, condenser, *rest = _head(line.label)
            set_key = line.inputs.get("set", "")
            yield (
                dataset, condenser, self._kind(set_key), *rest, line.label.set_seed, line.label.student_seed,
                values.top1_pct, values.test_count, values.steps, values.batch, values.resolution, values.train_count,
                values.label_bytes, *self._label_cost(line), values.top1_pct_best, entry.cost.get("wall_s"),
                entry.cost.get("cpu_s"), entry.cost.get("gpu_s"), entry.environment.get("device"), entry.attempt,
                line.key, set_key,
            )  # fmt: skip

    def _label_cost(self, line: PlanLine) -> tuple[Cell, Cell]:
        """CPU and GPU seconds of the task that wrote its cached labels, which other students may share."""
        entry = self._entries.get(line.inputs.get("labels", ""))
        return (None, None) if entry is None else (entry.cost.get("cpu_s"), entry.cost.get("gpu_s"))

    def cells(self) -> dict[CellId, CellResult]:
        """Every cell that the plan has, filled or not."""
        lines: dict[CellId, list[PlanLine]] = defaultdict(list)
        for line in self._plan:
            if line.stage == "evaluate":
                lines[_head(line.label)].append(line)
        return {which: self._cell(of_cell) for which, of_cell in lines.items()}

    def _cell(self, of_cell: list[PlanLine]) -> CellResult:
        found = [(line.label.set_seed, self._evaluations.get(line.key)) for line in of_cell]
        return CellResult(len(of_cell), [Evaluation(seed, v.top1_pct) for seed, v in found if v is not None])

    def sets(self, declared: Mapping[str, External]) -> Iterator[tuple[Cell, ...]]:
        """One row per planned condensed set: its storage, and what it cost or was declared to cost."""
        costs = set_costs(self._plan, self._lineage, self._entries)
        for line in (line for line in self._plan if line.stage == "condense" and line.label.shard is None):
            label, entry = line.label, self._entries.get(line.key)
            block = declared.get(label.condenser or "")
            kind = "external" if block is not None else self._kind(line.key) if entry is not None else ""
            row = self.states.get(line.key)
            status = "recorded" if entry is not None else without_record(row)
            values = entry.values if entry is not None else {}
            yield (
                label.dataset, label.condenser, kind, label.ipc, label.set_seed, status, values.get("count"),
                values.get("set_bytes"), values.get("soft_label_bytes"), *_costs(entry, block),
                *_charged(costs[line.key], external=kind == "external"), *self._predicted(entry), line.key,
            )  # fmt: skip

    def _predicted(self, entry: Entry | None) -> tuple[Cell, Cell]:
        """GPU seconds that the cost model gives a recorded set, and how many times that it took; none without a GPU."""
        predicted_s = self._recorded.gpu_s(entry) if entry is not None else None
        if entry is None or predicted_s is None:
            return None, None
        return round(predicted_s, _DECIMALS), round((cost_of(entry, "gpu_s") or 0.0) / predicted_s, _DECIMALS)

    def measures(self) -> list[Measured]:
        """Every planned measure with its record, where there is one."""
        return measured(self._plan, self._lineage, self._measures)

    def _kind(self, set_key: str) -> str:
        """Coreset, method or external, as the set's own task says; without a set it is a reference line."""
        if not set_key:
            return "reference"
        if set_key not in self._kinds:
            try:
                task = store.read_task(self._layout.task("condense", set_key))
                self._kinds[set_key] = str(getattr(task.spec, "kind", ""))
            except StoreError as error:
                self.problems.append(str(error))
                self._kinds[set_key] = ""
        return self._kinds[set_key]

    def failures(self) -> Iterator[tuple[Cell, ...]]:
        """One row per task that something went wrong for."""
        view = RunView(self._run)
        view.refresh()
        for row in self.states.values():
            if row.state in BAD and row.key not in self._entries:
                yield self._failure(row, view)

    def _failure(self, row: Row, view: RunView) -> tuple[Cell, ...]:
        label, place = row.label, view.places.get(row.key)
        logs = runs.log_files(self._run, place.name, place.index) if place is not None else []
        log = str(logs[0] if len(logs) == 1 else logs[0].parent) if logs else ""
        seeds = label.set_seed, label.student_seed
        head = row.key, row.stage, *_head(label), *seeds, label.metric, label.role
        return *head, row.state, row.attempts, printable(row.detail), row.element, row.host, log
