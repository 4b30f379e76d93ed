"""Tables of the views of `watch`: failures by cause, results, costs. What is exported is what is shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from condhpc.outlook import CellResult, Costs, FailureGroup
from condhpc.tables import Cell

ACCURACY, OVER_RANDOM = "top1_pct", "over_random_pct"
"""Measures that every cell has; the others are named by the cells."""
WHOLE = "all data"
"""The column of cells that train on all data by the whole schedule."""
FAILURES = ("tasks", "state", "class", "slurm", "signature", "stages", "gpu_h_lost", "cpu_h_lost", "nodes")
COSTS = ("stage", "condenser", "gpu_type", "tasks", "gpu_h", "cpu_h", "kwh", "grade")
WASTE = ("cause", "gpu_h", "cpu_h")
SEEDS = ("ipc", "set_seed", "student_seed", "state", "top1_pct", "task")
_PIVOT = ("dataset", "protocol", "student", "condenser")
_NODES_SHOWN = 3


class Line(msgspec.Struct, frozen=True):
    """One line of a table."""

    key: str
    """The same from refresh to refresh, so that the cursor stays on its line."""
    cells: tuple[Cell, ...]
    tasks: tuple[str, ...] = ()
    """Keys of the tasks behind it."""


class Table(msgspec.Struct, frozen=True):
    """A header and its lines."""

    header: tuple[str, ...]
    lines: list[Line]

    def rows(self) -> list[tuple[Cell, ...]]:
        """Cells alone, as CSV wants them."""
        return [line.cells for line in self.lines]


def failures(groups: Iterable[FailureGroup]) -> Table:
    """One line for each cause, in the order in which they come: most tasks first.

    Its key is what groups are told apart by, and nothing that a further task can change.
    """
    lines = [
        Line(
            "\0".join((group.state, group.slurm_state, group.cause, group.signature)),
            (
                len(group.keys),
                group.state,
                group.cause,
                group.slurm_state,
                group.signature,
                " ".join(group.stages),
                group.gpu_h_lost,
                group.cpu_h_lost,
                _some(group.nodes),
            ),
            tuple(group.keys),
        )
        for group in groups
    ]
    return Table(FAILURES, lines)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NODES_SHOWN
    return " ".join(names[:_NODES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def costs(found: Costs) -> Table:
    """One line for each stage, condenser and GPU type."""
    lines = [
        Line(
            f"{line.stage} {line.condenser} {line.gpu_type}",
            (
                line.stage,
                line.condenser,
                line.gpu_type or "CPU",
                line.tasks,
                line.gpu_h,
                line.cpu_h,
                line.kwh,
                line.grade,
            ),
        )
        for line in found.lines
    ]
    return Table(COSTS, lines)


def waste(found: Costs) -> Table:
    """Hours that led to no record, by cause, largest first; None where a cause took none of a kind."""
    causes = {**found.waste_gpu_h, **found.waste_cpu_h}
    ordered = sorted(causes, key=lambda c: (-found.waste_gpu_h.get(c, 0.0), -found.waste_cpu_h.get(c, 0.0), c))
    return Table(WASTE, [Line(c, (c, found.waste_gpu_h.get(c), found.waste_cpu_h.get(c))) for c in ordered])


def measures(cells: Iterable[CellResult]) -> list[str]:
    """What a pivot can show, accuracy first."""
    return [ACCURACY, OVER_RANDOM, *sorted({name for cell in cells for name in cell.measures})]


class Pivot(msgspec.Struct, frozen=True):
    """Condensers by ipc, for each dataset, protocol and student."""

    cells: list[CellResult]
    """What it was made of."""
    ipcs: tuple[int | None, ...]
    """By column; None: all data."""
    lines: list[PivotLine]

    @property
    def columns(self) -> tuple[str, ...]:
        """Titles."""
        return tuple(WHOLE if ipc is None else f"ipc {ipc}" for ipc in self.ipcs)

    def numbers(self, measure: str) -> Table:
        """As it is exported: the value and the number of evaluations behind it, beside each other."""
        header = [name for column in self.columns for name in (column, f"{column} n")]
        lines = [
            Line(
                line.key,
                (*line.names, *(v for c in line.cells for v in (value(c, measure), None if c is None else c.n))),
            )
            for line in self.lines
        ]
        return Table((*_PIVOT, *header), lines)


class PivotLine(msgspec.Struct, frozen=True):
    """A condenser for one dataset, protocol and student."""

    names: tuple[str, str, str, str]
    cells: list[CellResult | None]
    """By column; None where the manifest has no such cell."""

    @property
    def key(self) -> str:
        """Its names in one: the same from refresh to refresh."""
        return " ".join(self.names)

    def texts(self, measure: str) -> list[str]:
        """As it is shown, column by column: with deviation, count and marks."""
        return [cell_text(cell, measure) for cell in self.cells]

    def tasks(self) -> tuple[str, ...]:
        """Keys of all evaluations."""
        return tuple(seed.key for cell in self.cells if cell is not None for seed in cell.seeds)


def pivot(cells: Sequence[CellResult]) -> Pivot:
    """Lines and columns in the order in which datasets, protocols and condensers first come, ipc ascending."""
    held: dict[tuple[str, str, str, str], dict[int | None, CellResult]] = {}
    for cell in cells:
        held.setdefault(_names(cell), {})[cell.ipc] = cell
    groups = {names[:3]: place for place, names in reversed(list(enumerate(held)))}
    ordered = sorted(held, key=lambda names: groups[names[:3]])
    found = {ipc for by_ipc in held.values() for ipc in by_ipc}
    ipcs = (*sorted(ipc for ipc in found if ipc is not None), *([None] if None in found else []))
    return Pivot(list(cells), ipcs, [PivotLine(n, [held[n].get(ipc) for ipc in ipcs]) for n in ordered])


def renewed(held: Pivot, cells: Sequence[CellResult]) -> tuple[Pivot, list[PivotLine]] | None:
    """The pivot of these cells, and its lines that are others than before; None where it has to be made anew.

    Cells that did not change are the same objects as before: few have news, however many there are.
    """
    if len(cells) != len(held.cells):
        return None
    news: dict[tuple[str, str, str, str], dict[int | None, CellResult]] = {}
    for old, new in zip(held.cells, cells, strict=True):
        if old is not new:
            if (_names(old), old.ipc) != (_names(new), new.ipc):
                return None
            news.setdefault(_names(new), {})[new.ipc] = new
    lines = [_line_with(line, held.ipcs, news[line.names]) if line.names in news else line for line in held.lines]
    changed = [line for line in lines if line.names in news]
    return Pivot(list(cells), held.ipcs, lines), changed


def _line_with(line: PivotLine, ipcs: Sequence[int | None], news: Mapping[int | None, CellResult]) -> PivotLine:
    return PivotLine(line.names, [news.get(ipc, cell) for ipc, cell in zip(ipcs, line.cells, strict=True)])


def _names(cell: CellResult) -> tuple[str, str, str, str]:
    return cell.dataset, cell.protocol, cell.student, cell.condenser


def value(cell: CellResult | None, measure: str) -> float | None:
    """A measure of a cell; None where there is none (yet)."""
    if cell is None:
        return None
    if measure == ACCURACY:
        return cell.mean_pct
    return cell.over_random_pct if measure == OVER_RANDOM else cell.measures.get(measure)


def cell_text(cell: CellResult | None, measure: str) -> str:
    """`*71.34 ±0.52 (9)`: mean, deviation, count; `*` the best; `(7/9)` where some are to come; `2 failed`.

    Empty where the manifest has no such cell, `-` where it has one without a value.
    """
    if cell is None:
        return ""
    found = value(cell, measure)
    if found is None:
        parts = [" -", f"({cell.n}/{cell.planned})"]
    elif measure == ACCURACY:
        parts = [f"{'*' if cell.is_best else ' '}{found:.2f}"]
        parts += [f"±{cell.sd_pct:.2f}"] if cell.sd_pct is not None else []
        parts += [f"({cell.n})" if cell.n == cell.planned else f"({cell.n}/{cell.planned})"]
    else:
        parts = [f" {found:+.2f}" if measure == OVER_RANDOM else f" {found:.4g}"]
    parts += [f"{cell.failed} failed"] if cell.failed else []
    return " ".join(parts)


def seeds(line: PivotLine) -> Table:
    """Every evaluation behind a line of the pivot."""
    lines = [
        Line(seed.key, (_ipc(cell), seed.set_seed, seed.student_seed, seed.state, seed.top1_pct, seed.key), (seed.key,))
        for cell in line.cells
        if cell is not None
        for seed in cell.seeds
    ]
    return Table(SEEDS, lines)


def _ipc(cell: CellResult) -> Cell:
    return WHOLE if cell.ipc is None else cell.ipc
