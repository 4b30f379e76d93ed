"""Rows of `sets.csv`: one per planned condensed set, its storage and what it cost or was declared to cost."""

from __future__ import annotations

from collections.abc import Iterator

from condhpc import store
from condhpc.errors import StoreError
from condhpc.layout import Layout
from condhpc.ledger import Entry
from condhpc.manifest import External
from condhpc.measures import without_record
from condhpc.recorded import Recorded
from condhpc.runs import PlanLine
from condhpc.set_costs import SetCost, cost_of, set_costs
from condhpc.study import Study
from condhpc.tables import Cell, Table, printable

SETS = (
    "dataset", "condenser", "kind", "ipc", "set_seed", "status", "count", "set_bytes", "soft_label_bytes", "cost",
    "wall_s", "cpu_s", "gpu_s", "gpu_h", "gpu_type", "cpu_h", "kwh", "source", "standalone_cpu_s", "standalone_gpu_s",
    "amortised_cpu_s", "amortised_gpu_s", "shared_by", "uncharged", "pretrained_on", "predicted_gpu_s",
    "gpu_s_over_predicted",
    "set_key",
)  # fmt: skip
_UNKNOWN = "n/a"
_DECIMALS = 3


class Kinds:
    """Which kind of condenser each of a run's names is: coreset, method or external.

    As the task of its first readable set says, empty where none is: sets of one name are of one kind.
    """

    def __init__(self, study: Study) -> None:
        self._of = dict.fromkeys(study.declared, "external")
        used = dict.fromkeys(key for key, entry in study.entries.items() if entry.stage == "condense")
        used |= dict.fromkeys(p.inputs.get("set", "") for p in study.plan if p.key in study.evaluations)
        unreadable: dict[str, str] = {}
        for line in study.plan:
            name = line.label.condenser or ""
            if line.stage != "condense" or name in self._of or line.key not in used:
                continue
            try:
                task = store.read_task(study.layout.task("condense", line.key))
            except StoreError as error:
                unreadable.setdefault(name, str(error))
            else:
                self._of[name] = str(getattr(task.spec, "kind", ""))
        study.problems.extend(problem for name, problem in unreadable.items() if name not in self._of)

    def told(self) -> dict[str, str]:
        """Kind by name."""
        return self._of

    def of(self, condenser: str | None) -> str:
        """Empty for a name that nothing readable has."""
        return self._of.get(condenser or "", "")


def tables(study: Study, kinds: Kinds) -> list[Table]:
    """The table."""
    return [Table("sets", SETS, _rows(study, kinds))]


def _rows(study: Study, kinds: Kinds) -> Iterator[tuple[Cell, ...]]:
    costs = set_costs(study.plan, study.lineage, study.entries)
    predicted = _Predicted(study.layout)
    for line in (line for line in study.plan if line.stage == "condense" and line.label.shard is None):
        label, entry = line.label, study.entries.get(line.key)
        block = study.declared.get(label.condenser or "")
        kind = "external" if block is not None else kinds.of(label.condenser) if entry is not None else ""
        status = "recorded" if entry is not None else without_record(study.states.get(line.key))
        values = entry.values if entry is not None else {}
        yield (
            label.dataset, label.condenser, kind, label.ipc, label.set_seed, status, values.get("count"),
            values.get("set_bytes"), values.get("soft_label_bytes"), *_costs(entry, block),
            *_charged(costs[line.key], external=kind == "external"), *predicted.of(line, entry), line.key,
        )  # fmt: skip


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


class _Predicted:
    """What the cost model says of sets; those that differ in their seed alone are predicted once."""

    def __init__(self, layout: Layout) -> None:
        self._recorded = Recorded(layout)
        self._known: dict[tuple[object, ...], float | None] = {}

    def of(self, line: PlanLine, entry: Entry | None) -> tuple[Cell, Cell]:
        """GPU seconds that the model gives a recorded set, and how many times that it took; none without a GPU."""
        if entry is None or not entry.environment.get("gpu"):
            return None, None
        label, environment = line.label, entry.environment
        which = label.dataset, label.condenser, label.ipc, environment["gpu"], environment.get("threads")
        if which not in self._known:
            self._known[which] = self._recorded.gpu_s(entry)
        predicted_s = self._known[which]
        if predicted_s is None:
            return None, None
        return round(predicted_s, _DECIMALS), round((cost_of(entry, "gpu_s") or 0.0) / predicted_s, _DECIMALS)
