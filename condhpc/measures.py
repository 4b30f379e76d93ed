"""Rows of measures: one per condensed set, and one per condenser over the seeds of its sets."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec

from condhpc.findings import Row
from condhpc.intervals import mean_interval
from condhpc.lineage import Lineage
from condhpc.runs import PlanLine
from condhpc.tables import Cell, Table, printable

METRICS = (
    "dataset", "condenser", "ipc", "set_seed", "metric", "status", "value", "unit", "better", "reason", "pooled",
    "reference", "low", "high", "interval_over", "encoder", "encoder_independent", "analyze_key", "set_key",
)  # fmt: skip
METRIC_CELLS = (
    "dataset", "condenser", "ipc", "metric", "status", "n_sets", "n_planned", "mean", "sd", "ci95_low", "ci95_high",
    "unit", "better", "pooled_mean", "reference_mean", "reason", "encoder", "encoder_independent",
)  # fmt: skip
_DIGITS = 12
"""Of means, deviations and intervals; single values are written with as many digits as they have."""


Finite = Annotated[float, msgspec.Meta(ge=-1e100, le=1e100)]
"""What can be added up and squared: no measure is as large, whatever its unit."""


class Measure(msgspec.Struct, frozen=True, gc=False):
    """What an analysis' record says, beside its per-class values."""

    value: Finite | None
    unit: str
    better: str
    reason: str = ""
    pooled: Finite | None = None
    """Over all classes at once."""
    reference: Finite | None = None
    """What an equal-size random subset of the real data has."""
    low: Finite | None = None
    high: Finite | None = None
    interval_over: str | None = None
    """What its interval resamples: real points, never the points of the set."""


class Measured(msgspec.Struct, frozen=True, gc=False):
    """One planned measure of one set."""

    line: PlanLine
    found: Measure | None
    encoder: str
    independent: str
    """`yes` where what it measures with neither selected or distilled the set nor labels its students, else `no`; empty
    where it takes the set alone."""


def tables(
    plan: Sequence[PlanLine], lineage: Lineage, found: Mapping[str, Measure], states: Mapping[str, Row]
) -> list[Table]:
    """Both tables."""
    rows = measured(plan, lineage, found)
    return [
        Table("metrics", METRICS, metric_rows(rows, states)),
        Table("metric_cells", METRIC_CELLS, metric_cell_rows(rows)),
    ]


def measured(plan: Sequence[PlanLine], lineage: Lineage, found: Mapping[str, Measure]) -> list[Measured]:
    """Every planned measure, in the order of the plan."""
    lines = {line.key: line for line in plan}
    users: dict[str, set[str]] = defaultdict(set)
    for line in plan:
        if line.stage == "evaluate":
            users[line.inputs.get("set", "")].update(line.inputs.values())
    shaping = {key: lineage.closure({key} | users[key]) for key in _sets(plan)}
    rows = []
    for line in (line for line in plan if line.stage == "analyze"):
        set_key = line.inputs.get("set", "")
        measuring = set(line.inputs.values()) - {set_key}
        roles = (key for role, key in line.inputs.items() if role.partition(".")[0] == "embedding")  # or parts of one
        embedding = lines.get(next(roles, ""))
        name = embedding.label.role or "" if embedding is not None else ""
        independent = ("no" if measuring & shaping[set_key] else "yes") if measuring else ""
        rows.append(Measured(line, found.get(line.key), name, independent))
    return rows


def _sets(plan: Sequence[PlanLine]) -> set[str]:
    return {line.inputs.get("set", "") for line in plan if line.stage == "analyze"}


def metric_rows(rows: Sequence[Measured], states: Mapping[str, Row]) -> Iterator[tuple[Cell, ...]]:
    """Columns METRICS."""
    for row in rows:
        label, found, line = row.line.label, row.found, row.line
        if found is None:
            state = states.get(line.key)
            status = without_record(state)
            detail = printable(state.detail) if state is not None else None
            values: tuple[Cell, ...] = (status, None, None, None, detail, None, None, None, None, None)
        else:
            words = printable(found.unit), printable(found.better), printable(found.reason)
            over = printable(found.interval_over or "")
            values = ("recorded", found.value, *words, found.pooled, found.reference, found.low, found.high, over)
        head = label.dataset, label.condenser, label.ipc, label.set_seed, label.metric
        yield *head, *values, row.encoder, row.independent, line.key, line.inputs.get("set", "")


def without_record(row: Row | None) -> str:
    """Status of a task that no record could be read of; one that is there all the same is unreadable."""
    return row.state if row is not None and row.state != "recorded" else "unreadable"


def metric_cell_rows(rows: Sequence[Measured]) -> Iterator[tuple[Cell, ...]]:
    """Columns METRIC_CELLS: means and intervals over sets; a set's own interval says nothing of others."""
    cells: dict[tuple[Cell, ...], list[Measured]] = defaultdict(list)
    for row in rows:
        label = row.line.label
        cells[label.dataset, label.condenser, label.ipc, label.metric].append(row)
    for head, of_cell in cells.items():
        found = [row.found for row in of_cell if row.found is not None]
        values = [measure.value for measure in found if measure.value is not None]
        interval = mean_interval(values)
        low, high = interval if interval is not None else (None, None)
        independent = {row.independent for row in of_cell}
        yield (
            *head,
            "missing" if not found else "complete" if len(found) == len(of_cell) else "partial",
            len(values),
            len(of_cell),
            _mean(values),
            _rounded(statistics.stdev(values)) if len(values) > 1 else None,
            _rounded(low),
            _rounded(high),
            _agreed([measure.unit for measure in found]),
            _agreed([measure.better for measure in found]),
            _mean([measure.pooled for measure in found]),
            _mean([measure.reference for measure in found]),
            _agreed([measure.reason for measure in found]),
            _agreed([row.encoder for row in of_cell]),
            next((word for word in ("no", "yes") if word in independent), ""),
        )


def _agreed(texts: Sequence[str]) -> str:
    """Each once; several where they differ."""
    return printable("; ".join(dict.fromkeys(text for text in texts if text)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(statistics.fmean(known)) if known else None


def _rounded(value: float | None) -> float | None:
    """To significant digits: measures have all scales."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")
