"""Rows of `failures.csv`: one per task that something went wrong for, with where to read on."""

from __future__ import annotations

from collections.abc import Iterator

from condhpc import runs
from condhpc.cells_tables import head
from condhpc.findings import Row
from condhpc.layout import RunFolder
from condhpc.run_view import RunView
from condhpc.study import Study
from condhpc.tables import Cell, Table, printable
from condhpc.task_state import BAD

FAILURES = (
    "key", "stage", "dataset", "condenser", "ipc", "protocol", "student", "set_seed", "student_seed", "metric", "role",
    "state", "attempt", "reason", "job", "host", "log",
)  # fmt: skip


def tables(study: Study) -> list[Table]:
    """The table."""
    return [Table("failures", FAILURES, _rows(study))]


def _rows(study: Study) -> Iterator[tuple[Cell, ...]]:
    bad = [row for row in study.states.values() if row.state in BAD and row.key not in study.entries]
    if not bad:
        return  # a run's hints are many files
    view = RunView(study.run)
    view.refresh()
    for row in bad:
        yield _failure(row, study.run, view)


def _failure(row: Row, run: RunFolder, view: RunView) -> tuple[Cell, ...]:
    label, place = row.label, view.places.get(row.key)
    logs = runs.log_files(run, place.name, place.index) if place is not None else []
    log = str(logs[0] if len(logs) == 1 else logs[0].parent) if logs else ""
    seeds = label.set_seed, label.student_seed
    which = row.key, row.stage, *head(label), *seeds, label.metric, label.role
    return *which, row.state, row.attempts, printable(row.detail), row.element, row.host, log
