"""Condensers by ipc: accuracy, its difference to random, metrics and costs; the seeds behind a line; a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from condhpc import scatter_text, view_tables
from condhpc.scatter_text import Point
from condhpc.tables import Cell, aligned
from condhpc.tui.grid import Grid
from condhpc.tui.page import Page, Part
from condhpc.tui.sheets import Sheet, plain
from condhpc.tui.table import Column, Shape
from condhpc.tui.view import Setting, Update, View
from condhpc.view_tables import ACCURACY, Pivot, PivotLine

_NAME_CHARS, _CELL_CHARS = 16, 18
"""`*71.34 ±0.52 (7/9)`."""
_COSTS = ("gpu_h", "cpu_h", "kwh")
_COST_WORDS = {"gpu_h": "GPU-hours", "cpu_h": "CPU-hours", "kwh": "kWh"}


class Results(View):
    """The pivot above, what is behind its line below."""

    TITLE = "Results"
    DEFAULT_CSS = "Results > Page { border-top: solid $primary; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "measure(1)", "Measure", id="results.measure"),
        Binding("M", "measure(-1)", "Measure before", show=False, id="results.measure_before"),
        Binding("p", "plot", "Plot", id="results.plot"),
    ]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._measure = ACCURACY
        self._plots = False
        self._pivot = view_tables.pivot([])
        self._rows: Grid[PivotLine] = Grid(self._shape(), empty="no evaluation is planned", id="pivot")
        self._rows.table.group(lambda line: " ".join(line.names[:3]))
        self._seen: set[str] = set()
        """Groups that were opened once: one that a person closed stays closed."""
        self._behind = Page(id="behind")
        self._told: tuple[object, ...] = ()
        """What the page below is of."""

    def compose(self) -> ComposeResult:
        """The pivot, then one of its lines."""
        yield self._rows
        yield self._behind

    def _shape(self) -> Shape[PivotLine]:
        """Condenser and one column per ipc, below a line for each dataset, protocol and student."""
        columns = self._pivot.columns
        spread = len(columns) > 1  # those names share the columns, or all stand in the first one
        names = [_group_names(slice(i, i + 1) if spread else slice(0, 3 if i == 0 else 0)) for i in range(3)]
        return Shape(
            columns=(
                Column("condenser", lambda line: line.names[3], _NAME_CHARS, grow=1, group=names[0],
                       group_order=_as_they_come),
                *(
                    Column(title, self._text(i), _CELL_CHARS, grow=1, order=self._order(i), group_order=_as_they_come,
                           group=names[1 + i] if i < 2 else None)
                    for i, title in enumerate(columns)
                ),
            ),
            key=lambda line: line.key,
            text=lambda line: " ".join((*line.names, *line.texts(self._measure))),
            group_tone=lambda _: "busy",
        )  # fmt: skip

    def _text(self, column: int) -> Callable[[PivotLine], str]:
        return lambda line: view_tables.cell_text(line.cells[column], self._measure)

    def _order(self, column: int) -> Callable[[PivotLine], float]:
        def order(line: PivotLine) -> float:
            found = view_tables.value(line.cells[column], self._measure)
            return float("-inf") if found is None else found

        return order

    def show(self, update: Update) -> None:
        """Lines with cells that changed; all of them where there are other cells."""
        cells = update.snapshot.outlook.cells
        found = view_tables.renewed(self._pivot, cells)
        if found is None:
            self._write(view_tables.pivot(cells))
            return
        self._pivot, changed = found
        if changed:
            self._rows.change(changed)
            self._describe(self._rows.cursor_key)

    def _write(self, pivot: Pivot) -> None:
        before, self._pivot = self._pivot.ipcs, pivot
        if pivot.ipcs != before:
            self._rows.reshape(self._shape())
        self._rows.replace(pivot.lines)
        self._open_new()
        self._describe(self._rows.cursor_key)

    def _open_new(self) -> None:
        table = self._rows.table
        new = {key for key in table.shown if table.is_group(key)} - self._seen
        if new:
            self._seen |= new
            table.open |= new
            self._rows.rearrange()

    @property
    def grid(self) -> Grid[Any]:
        """The pivot."""
        return self._rows

    @property
    def measure(self) -> str:
        """What the pivot shows."""
        return self._measure

    def tasks_of(self, lines: list[str]) -> list[str]:
        """Evaluations behind these lines."""
        held = self._rows.table.rows
        return [key for line in lines for key in held[line].tasks()]

    def sheet(self) -> Sheet:
        """Values and counts, as numbers."""
        table = self._pivot.numbers(self._measure)
        return table.header, table.rows()

    def action_measure(self, by: int) -> None:
        """Another measure."""
        names = view_tables.measures(self._pivot.cells)
        place = names.index(self._measure) if self._measure in names else 0
        self._measure = names[(place + by) % len(names)]
        self.notify(f"measure: {self._measure}", timeout=2, markup=False)
        self._write(self._pivot)

    def action_plot(self) -> None:
        """The seeds of a line, or accuracy against hours of all lines of its dataset, protocol and student."""
        self._plots = not self._plots
        self._describe(self._rows.cursor_key)

    @on(Grid.Pointed)
    def describe(self, message: Grid.Pointed) -> None:
        """The line under the cursor."""
        self._describe(message.key)

    @on(Grid.Picked)
    def open_tasks(self, message: Grid.Picked) -> None:
        """Its first evaluation, among the tasks."""
        line = self._rows.table.rows.get(message.key or "")
        if line is not None and line.tasks():
            self.post_message(self.Opened("tasks", line.tasks()[0]))

    def on_resize(self) -> None:
        """A plot is as large as there is room."""
        if self._plots:
            self._describe(self._rows.cursor_key)

    def _describe(self, key: str | None) -> None:
        line = next(iter(self._rows.table.rows_of(key or "")), None)
        size = self._behind.size
        told = (line, self._measure, *((self._pivot, size) if self._plots else ()))
        if told == self._told:  # a table tells of its cursor each time it is painted
            return
        self._told = told
        if line is None:
            self._behind.set_lines([])
        elif self._plots:
            self._behind.set_lines(plot_lines(line, self._pivot.lines, size.width, size.height))
        else:
            self._behind.set_lines(seed_lines(line, self._measure))


def _as_they_come(lines: Sequence[PivotLine]) -> float:
    """Sorting moves lines within their dataset, protocol and student."""
    del lines
    return 0.0


def _group_names(part: slice) -> Callable[[Sequence[PivotLine]], str]:
    return lambda lines: " ".join(lines[0].names[:3][part])


def seed_lines(line: PivotLine, measure: str) -> list[list[Part]]:
    """Cells of a line with all that is known of them, then every evaluation."""
    lines: list[list[Part]] = [[(" ".join(line.names), "busy"), (f"  measure: {measure}", "dim")]]
    for cell in line.cells:
        if cell is not None:
            ipc = view_tables.WHOLE if cell.ipc is None else f"ipc {cell.ipc}"
            over = "" if cell.over_random_pct is None else f", {cell.over_random_pct:+.2f} over random"
            lines.append([(f"{ipc:<9}", "dim"), (f"{view_tables.cell_text(cell, ACCURACY)}{over}", "")])
            if cell.measures:
                held = ", ".join(f"{name} {value:.4g}" for name, value in sorted(cell.measures.items()))
                lines.append([(f"{'':<9}{held}", "dim")])
    table = view_tables.seeds(line)
    rows: list[Sequence[Cell]] = [(*row[:-1], str(row[-1])[:12]) for row in table.rows()]
    return [*lines, [], *plain(aligned(table.header, rows))]


def plot_lines(line: PivotLine, lines: Sequence[PivotLine], columns: int, rows: int) -> list[list[Part]]:
    """Accuracy against what sets took to make, over all condensers and ipc of the line's dataset, protocol, student.

    GPU-hours where any cell took some, else CPU-hours.
    """
    cells = [
        cell
        for other in lines
        if other.names[:3] == line.names[:3]
        for cell in other.cells
        if cell is not None and cell.mean_pct is not None
    ]
    cost = next((name for name in _COSTS if any(cell.measures.get(name, 0.0) > 0 for cell in cells)), _COSTS[0])
    points = [Point(c.condenser, c.measures.get(cost, 0.0), c.mean_pct) for c in cells if c.mean_pct is not None]
    title = f"{' '.join(line.names[:3])}: top-1 % against {_COST_WORDS[cost]} of making the set"
    text = scatter_text.scatter(points, _COST_WORDS[cost], "top-1 %", columns, rows - 1)
    return [[(title, "busy")], *plain(text)]
