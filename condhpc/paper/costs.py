"""The cost table: what the condensed sets of a condenser took to make, beside one full training; per set, as means."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from condhpc import tries
from condhpc.cost_table import COST, FULL, MIXED, CostTable
from condhpc.paper import pedigree
from condhpc.paper.blocks import in_order
from condhpc.paper.pages import Grid, Page, Value, significant
from condhpc.sets_table import Kinds
from condhpc.study import Study
from condhpc.tables import Cell, Table
from condhpc.task_costs import task_costs

FIGURES = (
    "gpu_h", "cpu_h", "kwh", "standalone_gpu_h", "standalone_cpu_h", "standalone_kwh", "amortised_gpu_h",
    "amortised_cpu_h", "amortised_kwh", "over_full", "standalone_over_full", "break_even_reuses", "evaluation_gpu_h",
    "evaluation_cpu_h", "set_bytes", "soft_label_bytes", "cached_label_bytes",
)  # fmt: skip
PAPER_COST = (
    "dataset", "condenser", "ipc", "n_sets", "n_planned", "gpu_types", *FIGURES[:3], "energy_grades", *FIGURES[3:],
    "full_training", "compared_in", "notes",
)  # fmt: skip
_Shown = list[tuple[str, str]]
"""Titles of columns and the figures in them."""
LEGEND = (
    (
        "Of one condensed set, mean over the sets that are recorded: the attempts that led to the record. Alone: with "
        "everything that it rests on. Shared: with its share of that. Both are in GPU-hours, in CPU-hours where a set "
        "took no GPU at all, and in kWh. Students' hours are of all students of a set."
    ),
    (
        "n/a: not measured, or hours on several types of GPU, which are never added. ÷ full training is in GPU-hours "
        "where both have them, in CPU-hours where neither has a GPU, else n/a; break-even counts the trainings that a "
        "set must replace."
    ),
)
_MB = 1e6
_ENERGY_RATIO = "kwh_over_full"
"""For the verdict, where hours have no unit in common with a full training."""


class SetCosts(NamedTuple):
    """The sets of one condenser at one ipc."""

    dataset: str
    condenser: str
    ipc: int | None
    n: int
    planned: int
    gpu_types: tuple[str, ...]
    grades: tuple[str, ...]
    figures: dict[str, float | str | None]
    """By name of FIGURES, and `kwh_over_full`: mean over sets; MIXED where it cannot be had, None without a record."""
    full_training: str
    compared_in: str
    notes: tuple[str, ...]

    def number(self, name: str) -> float | None:
        """A figure where there is one."""
        found = self.figures.get(name)
        return found if isinstance(found, float) else None


def of_study(study: Study, kinds: Kinds) -> list[SetCosts]:
    """All condensers and ipc that have condensed sets."""
    entries = {key: held for key, held in study.entries.items() if min(held.cost.values(), default=0.0) >= 0.0}
    recorded = [line for line in study.plan if line.key in entries]
    tried = tries.read(study.layout, recorded, entries).tries  # what cannot be read is said by `accounting_tables`
    rows = CostTable(study.plan, study.lineage, entries, task_costs(study.plan, entries, tried))
    found: dict[tuple[Cell, Cell, Cell], list[dict[str, Cell]]] = defaultdict(list)
    for row in rows.rows(study.declared, study.states):
        held = dict(zip(COST, row, strict=True))
        found[held["dataset"], held["condenser"], held["ipc"]].append(held)
    order = {name: i for i, name in enumerate(in_order(kinds, sorted({str(name) for _, name, _ in found})))}
    cells = [_cell(study, *which, of_cell) for which, of_cell in found.items()]
    return sorted(cells, key=lambda one: (one.dataset, -1 if one.ipc is None else one.ipc, order[one.condenser]))


def _cell(study: Study, dataset: Cell, condenser: Cell, ipc: Cell, rows: Sequence[dict[str, Cell]]) -> SetCosts:
    made = [row for row in rows if row["cost"] is not None]
    types = tuple(sorted({str(row["gpu_types"]) for row in made} - {"", "None"}))
    graded = tuple(sorted({str(row["energy_grade"]) for row in made} - {"", "None", "none"}))
    figures = {name: _mean([row[name] for row in made]) for name in (*FIGURES, _ENERGY_RATIO)}
    notes = pedigree.mixtures(study, [str(row["set_key"]) for row in made], "sets")
    if len({row["gpu_types"] or "" for row in made}) > 1:  # also some on a GPU and some on CPUs
        figures |= dict.fromkeys(("gpu_h", "standalone_gpu_h", "amortised_gpu_h", "over_full"), MIXED)
    if len({row["standalone_gpu_types"] or "" for row in made}) > 1:
        figures |= dict.fromkeys(("standalone_gpu_h", "amortised_gpu_h"), MIXED)
    notes += pedigree.grades(graded)
    notes += [f"rests on {row['uncharged']}, made elsewhere and not charged" for row in made if row["uncharged"]]
    notes += [f"its generator saw {row['pretrained_on']} before; not charged" for row in made if row["pretrained_on"]]
    notes += [f"declared by its makers ({row['source'] or 'no source'})" for row in made if row["cost"] == "declared"]
    if (full := _first(made, "full_training")).startswith("teacher"):
        notes.append(f"÷ full training is against {full}: no {FULL} is recorded")
    if len(made) < len(rows):
        notes.append(f"{len(made)} of {len(rows)} sets recorded")
    return SetCosts(
        str(dataset), str(condenser), ipc if isinstance(ipc, int) else None, len(made), len(rows), types, graded,
        figures, full, _first(made, "compared_in"), tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _first(rows: Sequence[dict[str, Cell]], name: str) -> str:
    return next((str(row[name]) for row in rows if row[name]), "")


def _mean(values: Sequence[Cell]) -> float | str | None:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if any(isinstance(value, str) for value in values):
        return MIXED
    return statistics.fmean(numbers) if numbers else None


def page(costs: Sequence[SetCosts]) -> Page:
    """One table per dataset."""
    return Page(
        "Cost of construction", LEGEND, [_grid(name, costs) for name in dict.fromkeys(c.dataset for c in costs)]
    )


def _shown(costs: Sequence[SetCosts]) -> _Shown:
    """Columns in the units of the work: hours of GPUs that nobody used are no column of zeros."""
    hours = [one.figures["standalone_gpu_h"] for one in costs if one.n]
    units = [("GPU-h", "gpu_h")] if any(hours) else []
    units += [("CPU-h", "cpu_h")] if 0.0 in hours else []
    units += [("kWh", "kwh")]
    plain = [("GPU-h", "gpu_h")] * any(hours) + [("CPU-h", "cpu_h"), ("kWh", "kwh")]
    alone = [(f"{unit} alone", f"standalone_{name}") for unit, name in units]
    shared = [(f"{unit} shared", f"amortised_{name}") for unit, name in units]
    students = ("GPU-h", "gpu_h") if any(one.figures["evaluation_gpu_h"] for one in costs) else ("CPU-h", "cpu_h")
    return [
        *plain, *alone, *shared, ("÷ full training", "over_full"), ("break-even reuses", "break_even_reuses"),
        (f"students' {students[0]}", f"evaluation_{students[1]}"),
    ]  # fmt: skip


def _grid(dataset: str, costs: Sequence[SetCosts]) -> Grid:
    costs = [one for one in costs if one.dataset == dataset]
    shown = _shown(costs)
    header = ("condenser", "GPU", "ipc", *(title for title, _ in shown), "stored, MB")
    rows = []
    for one in costs:
        notes = one.notes if one.n else ()
        head = [Value(one.condenser, notes=notes), Value(" / ".join(one.gpu_types) or "none"), Value(_ipc(one.ipc))]
        if one.n:
            rows.append([*head, *(Value(_text(one, name)) for _, name in shown), Value(_stored(one))])
        else:
            rows.append([*head, Value(f"missing 0/{one.planned}"), *(Value("") for _ in shown)])
    return Grid(dataset, header, rows, text_columns=2)


def _ipc(ipc: int | None) -> str:
    return "" if ipc is None else str(ipc)


def _text(one: SetCosts, name: str) -> str:
    found = one.figures[name]
    text = found if isinstance(found, str) else "" if found is None else significant(found)
    grade = "/".join(one.grades) if name == "kwh" and isinstance(found, float) else ""
    return f"{text} {grade}".rstrip()


def _stored(one: SetCosts) -> str:
    """Set with all labels."""
    names = ("set_bytes", "soft_label_bytes", "cached_label_bytes")
    known = [found for name in names if (found := one.number(name)) is not None]
    return significant(sum(known) / _MB) if known else ""


def table(costs: Sequence[SetCosts]) -> Table:
    """The same and more figures, one row per condenser and ipc."""
    return Table("cost", PAPER_COST, _csv_rows(costs))


def _csv_rows(costs: Sequence[SetCosts]) -> Iterator[tuple[Cell, ...]]:
    for one in costs:
        figures = [_rounded(one.figures[name]) for name in FIGURES]
        yield (
            one.dataset, one.condenser, one.ipc, one.n, one.planned, " / ".join(one.gpu_types), *figures[:3],
            "/".join(one.grades), *figures[3:], one.full_training, one.compared_in, "; ".join(one.notes),
        )  # fmt: skip


def _rounded(value: float | str | None) -> Cell:
    return float(f"{value:.9g}") if isinstance(value, float) else value
