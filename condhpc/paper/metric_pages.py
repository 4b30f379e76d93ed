"""The metric table: how well the sets of each condenser represent the data; and who covers it better."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from condhpc.cell_statistics import Evaluation, Statistics, cell_statistics
from condhpc.measures import Measured, measured
from condhpc.paper.blocks import in_order, kind_of, written_kind
from condhpc.paper.bootstrap import Arm, Difference, differences
from condhpc.paper.pages import Grid, Page, Value, significant
from condhpc.sets_table import Kinds
from condhpc.study import Study
from condhpc.tables import Cell, Table

PAPER_METRICS = (
    "dataset", "metric", "unit", "better", "condenser", "kind", "ipc", "n_sets", "n_planned", "mean", "sd",
    "reference_mean", "encoder", "encoder_independent", "notes",
)  # fmt: skip
COVERAGE = ("coverage", "normalised_coverage", "epsilon_coverage", "covering_radius", "kmedian_cost")
"""Measures of coverage; the first that a plan has is the one of figures and verdict."""
LEGEND = ("Mean ± sd over condensed sets (number of sets).",)
_DIGITS = 9


class Sets(NamedTuple):
    """A measure of the sets of one condenser at one ipc."""

    dataset: str
    metric: str
    condenser: str
    kind: str
    ipc: int | None
    planned: int
    unit: str
    better: str
    values: dict[int | None, float]
    """By set seed."""
    reference: float | None
    """Mean of what as many random real images have."""
    encoder: str
    independent: bool
    """False where what it measures with also selected, distilled or labels."""
    reason: str
    """Why records have no value."""

    @property
    def statistics(self) -> Statistics:
        """Over sets."""
        return cell_statistics(Evaluation(None, value) for value in self.values.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """In words."""
        found = []
        if not self.independent:
            found.append(
                f"measured with {self.encoder}, which is no independent judge: it also chose, distilled or labels"
            )
        if self.reason:
            found.append(self.reason)
        if 0 < len(self.values) < self.planned:
            found.append(f"{len(self.values)} of {self.planned} sets recorded")
        return tuple(found)


class Coverage(NamedTuple):
    """The coreset that covers the data best against the distilled set that does."""

    metric: str
    better: str
    distilled: Sets
    coreset: Sets
    gain: Difference | None
    """By how much the coreset is better, in the measure's own unit; of intervals that hold all at once."""


def of_study(study: Study, kinds: Kinds) -> list[Sets]:
    """All measures by dataset, metric, ipc and condenser."""
    cells: dict[tuple[str, str, str, int | None], list[Measured]] = defaultdict(list)
    for row in measured(study.plan, study.lineage, study.measures):
        label = row.line.label
        cells[label.dataset or "", label.metric or "", label.condenser or "", label.ipc].append(row)
    order = {name: i for i, name in enumerate(in_order(kinds, sorted({which[2] for which in cells})))}
    found = [_sets(kinds, *which, rows) for which, rows in cells.items()]
    return sorted(found, key=lambda one: (one.dataset, one.metric, one.ipc or 0, order[one.condenser]))


def _sets(kinds: Kinds, dataset: str, metric: str, condenser: str, ipc: int | None, rows: Sequence[Measured]) -> Sets:
    found = [(row.line.label.set_seed, row.found) for row in rows if row.found is not None]
    references = [held.reference for _, held in found if held.reference is not None]
    return Sets(
        dataset=dataset,
        metric=metric,
        condenser=condenser,
        kind=kind_of(kinds, condenser),
        ipc=ipc,
        planned=len(rows),
        unit=next((held.unit for _, held in found), ""),
        better=next((held.better for _, held in found), ""),
        values={seed: held.value for seed, held in found if held.value is not None},
        reference=sum(references) / len(references) if references else None,
        encoder=next((row.encoder for row in rows if row.encoder), ""),
        independent=all(row.independent != "no" for row in rows),
        reason=next((held.reason for _, held in found if held.reason), ""),
    )


def page(sets: Sequence[Sets]) -> Page:
    """One table per dataset: measures as columns, condensers by ipc as rows."""
    return Page(
        "Measures of condensed sets", LEGEND, [_grid(name, sets) for name in dict.fromkeys(s.dataset for s in sets)]
    )


def _grid(dataset: str, sets: Sequence[Sets]) -> Grid:
    of_dataset = [one for one in sets if one.dataset == dataset]
    metrics = list(dict.fromkeys(one.metric for one in of_dataset))
    better = {one.metric: one.better for one in of_dataset if one.better}
    units = {one.metric: one.unit for one in of_dataset if one.unit}
    header = ("condenser", "ipc", *(_title(name, better.get(name, ""), units.get(name, "")) for name in metrics))
    held = {(one.ipc, one.condenser, one.metric): one for one in of_dataset}
    rows = [
        [Value(condenser), Value(str(ipc or "")), *(_value(held.get((ipc, condenser, name))) for name in metrics)]
        for ipc, condenser in dict.fromkeys((one.ipc, one.condenser) for one in of_dataset)
    ]
    return Grid(dataset, header, rows)


def _title(metric: str, better: str, unit: str) -> str:
    return ", ".join(text for text in (metric, unit, f"{better} is better" if better else "") if text)


def _value(one: Sets | None) -> Value:
    if one is None:
        return Value("not planned")
    if not one.values:
        return Value("none" if one.reason else f"missing 0/{one.planned}", notes=(one.reason,) if one.reason else ())
    found = one.statistics
    spread = "" if found.sd is None else f" ± {significant(found.sd)}"
    return Value(f"{significant(found.mean or 0.0)}{spread} ({found.n})", notes=one.notes)


def table(sets: Sequence[Sets]) -> Table:
    """The same, one row per measure, condenser and ipc."""
    return Table("metrics", PAPER_METRICS, _csv_rows(sets))


def _csv_rows(sets: Sequence[Sets]) -> Iterator[tuple[Cell, ...]]:
    for one in sets:
        found = one.statistics
        independent = "" if not one.encoder else "yes" if one.independent else "no"
        yield (
            one.dataset, one.metric, one.unit, one.better, one.condenser, written_kind(one.kind), one.ipc, found.n,
            one.planned, found.mean, found.sd,
            None if one.reference is None else float(f"{one.reference:.{_DIGITS}g}"), one.encoder,
            independent, "; ".join(one.notes),
        )  # fmt: skip


def coverage(sets: Sequence[Sets], dataset: str, ipc: int | None) -> Coverage | None:
    """Whether coresets cover the data better; None without a measure of coverage on both sides."""
    of_block = [one for one in sets if one.dataset == dataset and one.ipc == ipc and one.values]
    for metric in COVERAGE:
        held = [one for one in of_block if one.metric == metric]
        distilled = [one for one in held if one.kind == "method"]
        coresets = [one for one in held if one.kind == "coreset"]
        if distilled and coresets:
            return _coverage(distilled, coresets)
    return None


def _coverage(distilled: Sequence[Sets], coresets: Sequence[Sets]) -> Coverage:
    sign = -1.0 if distilled[0].better == "lower" else 1.0
    pairs = [(one, other) for one in coresets for other in distilled]
    found = differences([(_arm(one, sign), _arm(other, sign)) for one, other in pairs])
    best = max(coresets, key=lambda one: sign * (one.statistics.mean or 0.0))
    rival = max(distilled, key=lambda one: sign * (one.statistics.mean or 0.0))
    return Coverage(best.metric, best.better, rival, best, found[pairs.index((best, rival))])


def _arm(one: Sets, sign: float) -> Arm:
    return Arm({(seed, None): sign * value for seed, value in one.values.items()}, None, None, {})
