"""From the records of a run to CSV tables: a row per evaluation, cell, condensed set, measure and failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from condhpc import ledger, runs, store, typed_toml
from condhpc.cell_statistics import Evaluation, Statistics, cell_statistics
from condhpc.errors import InputError, StoreError
from condhpc.findings import Row, Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.ledger import Entry
from condhpc.manifest import External
from condhpc.planned import Label
from condhpc.run_view import RunView
from condhpc.runs import PlanLine
from condhpc.tables import Cell, printable, write_csv
from condhpc.task_state import BAD

RESULTS = (
    "dataset", "condenser", "kind", "ipc", "protocol", "student", "set_seed", "student_seed", "top1_pct", "test_count",
    "steps", "batch", "resolution", "train_count", "label_bytes", "top1_pct_best", "wall_s", "cpu_s", "gpu_s", "device",
    "attempts", "evaluate_key", "set_key",
)  # fmt: skip
SETS = (
    "dataset", "condenser", "kind", "ipc", "set_seed", "status", "count", "set_bytes", "soft_label_bytes", "cost",
    "wall_s", "cpu_s", "gpu_s", "gpu_h", "gpu_type", "cpu_h", "kwh", "source", "set_key",
)  # fmt: skip
CELLS = (
    "dataset", "condenser", "ipc", "protocol", "student", "status", "n", "n_planned", "n_sets", "top1_pct_mean",
    "top1_pct_sd", "top1_pct_ci95_low", "top1_pct_ci95_high", "ci_over",
)  # fmt: skip
METRICS = (
    "dataset", "condenser", "ipc", "set_seed", "metric", "status", "value", "unit", "better", "reason", "encoder",
    "encoder_independent", "analyze_key", "set_key",
)  # fmt: skip
FAILURES = (
    "key", "stage", "dataset", "condenser", "ipc", "protocol", "student", "set_seed", "student_seed", "metric", "role",
    "state", "attempt", "reason", "job", "host", "log",
)  # fmt: skip
TABLE = ("dataset", "condenser", "ipc", "protocol", "student", "n", "top1 %", "± 95 %", "status")
_UNKNOWN = "n/a"


class Collected(msgspec.Struct, frozen=True):
    """What `collect` wrote."""

    paths: list[Path]
    header: tuple[str, ...]
    table: list[tuple[Cell, ...]]
    """The cells for the screen, in the order of the plan."""
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


class _Measure(msgspec.Struct, frozen=True, gc=False):
    """What an analysis' record says, beside its per-class values."""

    value: float | None
    unit: str
    better: str
    reason: str = ""


def collect(run: RunFolder, layout: Layout, out_dir: Path, shot: Snapshot) -> Collected:
    """Write results, cells, sets, metrics and failures as CSV; `shot` says what became of unrecorded tasks.

    Only the tables are written, and from equal records the same bytes.
    """
    plan = runs.plan(run)
    wanted = [(line.stage, line.key) for line in plan if line.stage in {"condense", "evaluate", "analyze"}]
    tables = _Tables(run, layout, plan, shot, ledger.read(layout, wanted))
    cells = list(tables.cells())
    paths = [
        write_csv(out_dir / "results.csv", RESULTS, tables.results()),
        write_csv(out_dir / "cells.csv", CELLS, (_cell_row(*cell) for cell in cells)),
        write_csv(out_dir / "sets.csv", SETS, tables.sets(_declared(run))),
        write_csv(out_dir / "metrics.csv", METRICS, tables.metrics()),
        write_csv(out_dir / "failures.csv", FAILURES, tables.failures()),
    ]
    return Collected(paths, TABLE, [_screen_row(*cell) for cell in cells], tables.problems)


def _declared(run: RunFolder) -> dict[str, External]:
    """What the run's manifest says of sets made elsewhere."""
    try:
        _, tables = typed_toml.read(run.manifest)
        return msgspec.convert(tables.get("external", {}), dict[str, External])
    except (InputError, msgspec.ValidationError):
        return {}  # the run was planned from it, so it is there; costs that cannot be read are not known


def _head(label: Label) -> tuple[Cell, ...]:
    return label.dataset, label.condenser, label.ipc, label.protocol, label.student


def _costs(entry: Entry | None, block: External | None) -> tuple[Cell, ...]:
    """Columns `cost` to `source`: measured, declared, or n/a where nobody knows what a set has cost."""
    if block is None:
        measured = (entry.cost.get(name) for name in ("wall_s", "cpu_s", "gpu_s")) if entry is not None else (None,) * 3
        return ("measured" if entry is not None else None, *measured, None, None, None, None, None)
    known = [block.gpu_h, block.gpu_type or None, block.cpu_h, block.kwh]
    if all(value is None for value in (block.gpu_h, block.cpu_h, block.kwh)):
        return ("n/a", *(None,) * 7, block.source or None)
    declared = (_UNKNOWN if value is None else value for value in known)
    return ("declared", None, None, None, *declared, block.source or None)


def _status(found: Statistics, planned: int) -> str:
    return "missing" if not found.n else "complete" if found.n == planned else "partial"


def _cell_row(label: Label, planned: int, found: Statistics) -> tuple[Cell, ...]:
    status = _status(found, planned)
    numbers = found.mean, found.sd, found.low, found.high
    return *_head(label), status, found.n, planned, found.n_sets, *numbers, found.over


def _screen_row(label: Label, planned: int, found: Statistics) -> tuple[Cell, ...]:
    half = None if found.high is None or found.low is None else (found.high - found.low) / 2
    return *_head(label), found.n, found.mean, half, _status(found, planned)


class _Tables:
    """The rows of each table."""

    def __init__(
        self, run: RunFolder, layout: Layout, plan: list[PlanLine], shot: Snapshot, records: ledger.Ledger
    ) -> None:
        self._run = run
        self._layout = layout
        self._plan = plan
        self._lines = {line.key: line for line in plan}
        self._states = {row.key: row for row in shot.rows}
        self.problems = list(records.problems)
        self._entries = records.entries
        self._evaluations = dict(self._typed("evaluate", _Values))
        self._measures = dict(self._typed("analyze", _Measure))
        self._kinds: dict[str, str] = {}

    def _typed(self, stage: str, wanted: type[Any]) -> Iterator[tuple[str, Any]]:
        for entry in (e for e in self._entries.values() if e.stage == stage):
            try:
                yield entry.key, msgspec.convert(entry.values, wanted)
            except msgspec.ValidationError as error:
                self.problems.append(f"record of {stage} {entry.key}: {error}")

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
                values.label_bytes, values.top1_pct_best, entry.cost.get("wall_s"), entry.cost.get("cpu_s"),
                entry.cost.get("gpu_s"), entry.environment.get("device"), entry.attempt,
                line.key, set_key,
            )  # fmt: skip

    def cells(self) -> Iterator[tuple[Label, int, Statistics]]:
        """(label, planned evaluations, statistics) of every cell that the plan has, filled or not."""
        lines: dict[tuple[Cell, ...], list[PlanLine]] = defaultdict(list)
        for line in self._plan:
            if line.stage == "evaluate":
                lines[_head(line.label)].append(line)
        for of_cell in lines.values():
            found = [(line.label.set_seed, self._evaluations.get(line.key)) for line in of_cell]
            known = [Evaluation(seed, values.top1_pct) for seed, values in found if values is not None]
            yield of_cell[0].label, len(of_cell), cell_statistics(known)

    def sets(self, declared: Mapping[str, External]) -> Iterator[tuple[Cell, ...]]:
        """One row per planned condensed set: its storage, and what its own task cost or was declared to cost."""
        for line in (line for line in self._plan if line.stage == "condense"):
            label, entry = line.label, self._entries.get(line.key)
            block = declared.get(label.condenser or "")
            kind = "external" if block is not None else self._kind(line.key) if entry is not None else ""
            row = self._states.get(line.key)
            status = "recorded" if entry is not None else row.state if row is not None else "unreadable"
            values = entry.values if entry is not None else {}
            yield (
                label.dataset, label.condenser, kind, label.ipc, label.set_seed, status, values.get("count"),
                values.get("set_bytes"), values.get("soft_label_bytes"), *_costs(entry, block), line.key,
            )  # fmt: skip

    def metrics(self) -> Iterator[tuple[Cell, ...]]:
        """One row per planned measure."""
        users: dict[str, set[str]] = defaultdict(set)
        for line in self._plan:
            if line.stage == "evaluate":
                set_key = line.inputs.get("set", "")
                users[set_key] |= self._ancestors(line.key) - self._ancestors(set_key)
        for line in (line for line in self._plan if line.stage == "analyze"):
            found: _Measure | None = self._measures.get(line.key)
            set_key, label = line.inputs.get("set", ""), line.label
            encoder, independent = self._encoder(line, set_key, users[set_key])
            if found is None:
                row = self._states.get(line.key)
                state = row.state if row is not None and row.state != "recorded" else "unreadable"
                values: tuple[Cell, ...] = (state, None, None, None, row.detail if row is not None else None)
            else:
                values = ("recorded", found.value, found.unit, found.better, found.reason)
            head = label.dataset, label.condenser, label.ipc, label.set_seed, label.metric
            yield *head, *values, encoder, independent, line.key, set_key

    def _encoder(self, line: PlanLine, set_key: str, users: set[str]) -> tuple[str, str]:
        """Who measures, and whether it neither selected or distilled the set nor labels its students."""
        measuring = set(line.inputs.values()) - {set_key}
        shaping = (self._ancestors(set_key) | users) - {set_key}
        embedding = self._lines.get(line.inputs.get("embedding", ""))
        name = embedding.label.role or "" if embedding is not None else ""
        return name, ("no" if measuring & shaping else "yes") if measuring else ""

    def _ancestors(self, key: str) -> set[str]:
        line = self._lines.get(key)
        inputs = set(line.inputs.values()) if line is not None else set()
        return inputs.union(*(self._ancestors(parent) for parent in inputs))

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
        for row in self._states.values():
            if row.state in BAD and row.key not in self._entries:
                yield self._failure(row, view)

    def _failure(self, row: Row, view: RunView) -> tuple[Cell, ...]:
        label, place = row.label, view.places.get(row.key)
        logs = runs.log_files(self._run, place.name, place.index) if place is not None else []
        log = str(logs[0] if len(logs) == 1 else logs[0].parent) if logs else ""
        seeds = label.set_seed, label.student_seed
        head = row.key, row.stage, *_head(label), *seeds, label.metric, label.role
        return *head, row.state, row.attempts, printable(row.detail), row.element, row.host, log
