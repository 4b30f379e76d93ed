"""Rows of `results.csv`: one per recorded evaluation, in the order of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from condhpc.cells_tables import head
from condhpc.ledger import Entry
from condhpc.runs import PlanLine
from condhpc.sets_table import Kinds
from condhpc.study import Study
from condhpc.tables import Cell, Table

RESULTS = (
    "dataset", "condenser", "kind", "ipc", "protocol", "student", "set_seed", "student_seed", "top1_pct", "test_count",
    "steps", "batch", "resolution", "train_count", "label_bytes", "label_cpu_s", "label_gpu_s", "top1_pct_best",
    "wall_s", "cpu_s", "gpu_s", "device", "attempts", "evaluate_key", "set_key",
)  # fmt: skip


def tables(study: Study, kinds: Kinds) -> list[Table]:
    """The table."""
    return [Table("results", RESULTS, _rows(study, kinds))]


def _rows(study: Study, kinds: Kinds) -> Iterator[tuple[Cell, ...]]:
    for line in study.plan:
        values = study.evaluations.get(line.key)
        if values is None:
            continue
        entry = study.entries[line.key]
        dataset, condenser, *rest = head(line.label)
        set_key = line.inputs.get("set", "")
        yield (
            dataset, condenser, kinds.of(condenser) if set_key else "reference", *rest, line.label.set_seed,
            line.label.student_seed, values.top1_pct, values.test_count, values.steps, values.batch, values.resolution,
            values.train_count, values.label_bytes, *_label_cost(line, study.entries), values.top1_pct_best,
            entry.cost.get("wall_s"), entry.cost.get("cpu_s"), entry.cost.get("gpu_s"),
            entry.environment.get("device"), entry.attempt, line.key, set_key,
        )  # fmt: skip


def _label_cost(line: PlanLine, entries: Mapping[str, Entry]) -> tuple[Cell, Cell]:
    """CPU and GPU seconds of the task that wrote its cached labels, which other students may share."""
    entry = entries.get(line.inputs.get("labels", ""))
    return (None, None) if entry is None else (entry.cost.get("cpu_s"), entry.cost.get("gpu_s"))
