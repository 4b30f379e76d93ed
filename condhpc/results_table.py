"""Rows of `results.csv`: one per recorded evaluation, in the order of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from condhpc.csv_text import Columns
from condhpc.ledger import Entry
from condhpc.runs import PlanLine
from condhpc.set_costs import costs_of
from condhpc.sets_table import Kinds
from condhpc.study import Study
from condhpc.tables import Cell, Table

RESULTS = (
    "dataset", "condenser", "kind", "ipc", "protocol", "student", "set_seed", "student_seed", "top1_pct", "test_count",
    "steps", "batch", "resolution", "train_count", "label_bytes", "label_cpu_s", "label_gpu_s", "top1_pct_best",
    "wall_s", "cpu_s", "gpu_s", "device", "attempts", "evaluate_key", "set_key",
)  # fmt: skip
_COSTS = ("wall_s", "cpu_s", "gpu_s")
_NO_COST: tuple[Cell, ...] = None, None


def tables(study: Study, kinds: Kinds) -> list[Table]:
    """The table."""
    return [Table("results", RESULTS, columns(study, kinds, study.plan))]


def columns(study: Study, kinds: Kinds, plan: Sequence[PlanLine]) -> Columns:
    """Of the recorded among these lines, column by column: of all tables this is the one that has a row per record."""
    lines = [line for line in plan if line.key in study.evaluations]
    keys = [line.key for line in lines]
    labels = [line.label for line in lines]
    values = [study.evaluations[key] for key in keys]
    entries = [study.entries[key] for key in keys]
    sets = [line.inputs.get("set", "") for line in lines]
    condensers = [label.condenser or "" for label in labels]
    costs = [costs_of(entry, *_COSTS) for entry in entries]
    made = [_label_cost(line, study.entries) for line in lines]
    return Columns([
        [label.dataset or "" for label in labels],
        condensers,
        [kinds.of(name) if key else "reference" for name, key in zip(condensers, sets, strict=True)],
        [label.ipc for label in labels],
        [label.protocol or "" for label in labels],
        [label.student or "" for label in labels],
        [label.set_seed for label in labels],
        [label.student_seed for label in labels],
        [one.top1_pct for one in values],
        [one.test_count for one in values],
        [one.steps for one in values],
        [one.batch for one in values],
        [one.resolution for one in values],
        [one.train_count for one in values],
        [one.label_bytes for one in values],
        [cpu_s for cpu_s, _ in made],
        [gpu_s for _, gpu_s in made],
        [one.top1_pct_best for one in values],
        *([one[i] for one in costs] for i in range(len(_COSTS))),
        [entry.environment.get("device") for entry in entries],
        [entry.attempt for entry in entries],
        keys,
        sets,
    ])  # fmt: skip


def _label_cost(line: PlanLine, entries: Mapping[str, Entry]) -> tuple[Cell, ...]:
    """CPU and GPU seconds of the task that wrote its cached labels, which other students may share."""
    entry = entries.get(line.inputs["labels"]) if "labels" in line.inputs else None
    return _NO_COST if entry is None else costs_of(entry, "cpu_s", "gpu_s")
