"""The main table: test accuracy of every condenser at every ipc, its difference to random, the best and its ties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from condhpc.paper import pedigree
from condhpc.paper.blocks import REFERENCE, Block, Place, Runs, written_kind
from condhpc.paper.bootstrap import Difference
from condhpc.paper.judgement import Judged
from condhpc.paper.pages import Grid, Page, Value, mean_sd, signed
from condhpc.study import Study
from condhpc.tables import Cell, Table

ACCURACY = (
    "dataset", "protocol", "student", "condenser", "kind", "ipc", "status", "n", "n_planned", "n_sets", "top1_pct_mean",
    "top1_pct_sd", "is_best", "alike_best", "behind_best", "behind_best_low", "behind_best_high", "over_random",
    "over_random_low", "over_random_high", "over_random_n", "interval_over", "notes",
)  # fmt: skip
_DECIMALS = 6
LEGEND = (
    "Mean ± sd over students (number of students) after the last step, percent; every condensed set weighs the same.",
    (
        "Bold: the highest mean. Italic or underlined: not told apart from it, because the 95 % interval of the "
        "difference (of all pairs of condensers at once) holds 0."
    ),
    (
        "Δ: points over random, paired by seeds and test images, with the 95 % interval of all condensers at once, "
        "over set seeds, student seeds and test images unless a note says otherwise."
    ),
)


def page(study: Study, judged: Sequence[Judged]) -> Page:
    """One table per dataset, protocol and student: condensers by ipc."""
    places = dict.fromkeys(one.block.place for one in judged)
    return Page("Accuracy", LEGEND, [_grid(study, place, judged) for place in places])


def table(study: Study, judged: Sequence[Judged]) -> Table:
    """The same with intervals, one row per cell."""
    return Table("accuracy", ACCURACY, _csv_rows(study, judged))


def _grid(study: Study, place: Place, judged: Sequence[Judged]) -> Grid:
    of_place = [one for one in judged if one.block.place == place]
    by_ipc = [one for one in of_place if one.block.ipc is not None]
    whole = [one for one in of_place if one.block.ipc is None]
    names = list(dict.fromkeys(name for one in of_place for name in one.block.cells))
    ranks = {name: one.block.cells[name].kind for one in of_place for name in one.block.cells}
    header = ("condenser", *(text for one in by_ipc for text in (f"ipc {one.block.ipc}", "Δ random")))
    rows = []
    for name in sorted(names, key=lambda name: (ranks[name] == REFERENCE, names.index(name))):
        cells = [value for one in by_ipc for value in _values(study, one, name)]
        if whole and name in whole[0].block.cells:
            found = _accuracy(study, whole[0], whole[0].block.cells[name])
            cells = [found, *(Value("") for _ in cells[1:])]
        rows.append([Value(name), *cells])
    return Grid(str(place), header if by_ipc else ("condenser", "all data"), rows)


def _values(study: Study, one: Judged, name: str) -> list[Value]:
    """Both columns of an ipc."""
    cell = one.block.cells.get(name)
    if cell is None:
        return [Value("not planned"), Value("")]
    found = one.over_random.get(name)
    return [_accuracy(study, one, cell), Value("") if found is None else _difference(found, cell)]


def _accuracy(study: Study, one: Judged, cell: Runs) -> Value:
    found = cell.statistics
    if found.mean is None:
        return Value(f"missing 0/{cell.planned}")
    text = mean_sd(found.mean, found.sd, found.n)
    partial = [f"{found.n} of {cell.planned} students recorded"] if found.n < cell.planned else []
    notes = (*partial, *_whole(one.block), *pedigree.mixtures(study, cell.keys, "students"))
    return Value(text, cell.condenser == one.best, cell.condenser in one.alike, notes)


def _whole(block: Block) -> list[str]:
    return ["a whole training on all data, the same for every ipc"] if block.ipc is None else []


def _difference(found: Difference, cell: Runs) -> Value:
    notes = tuple(pedigree.of_difference(found, cell.statistics.n))
    return Value(signed(100 * found.value) + interval(found), notes=notes)


def interval(found: Difference, decimals: int = 1) -> str:
    """` [+1.1, +5.3]`; empty without one."""
    if found.low is None or found.high is None:
        return ""
    return f" [{signed(100 * found.low, decimals)}, {signed(100 * found.high, decimals)}]"


def _csv_rows(study: Study, judged: Sequence[Judged]) -> Iterator[tuple[Cell, ...]]:
    for one in judged:
        for name, cell in one.block.cells.items():
            found, over = cell.statistics, one.over_random.get(name)
            value = _accuracy(study, one, cell)
            notes = [*value.notes, *(_difference(over, cell).notes if over is not None else ())]
            status = "missing" if not found.n else "complete" if found.n == cell.planned else "partial"
            compared = cell.kind != REFERENCE and found.n > 0
            yield (
                *one.block.place, name, written_kind(cell.kind), one.block.ipc, status, found.n, cell.planned,
                found.n_sets, found.mean, found.sd,
                int(value.best) if compared else None, int(value.tied) if compared else None,
                *_points(one.behind.get(name)), *_points(over), None if over is None else over.n,
                "" if over is None else "; ".join(over.over), "; ".join(notes),
            )  # fmt: skip


def _points(found: Difference | None) -> tuple[Cell, Cell, Cell]:
    if found is None:
        return None, None, None
    value, low, high = found.value, found.low, found.high
    return _rounded(value), _rounded(low), _rounded(high)


def _rounded(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, _DECIMALS)
