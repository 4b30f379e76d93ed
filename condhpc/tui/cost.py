"""What a run took: hours and energy by stage, condenser and GPU type, and what of it led to nothing."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult

from condhpc import view_tables
from condhpc.outlook import Costs
from condhpc.tables import aligned
from condhpc.tui.grid import Grid
from condhpc.tui.overview import cost_lines
from condhpc.tui.page import Page, Part
from condhpc.tui.sheets import Sheet, plain, shape_of
from condhpc.tui.view import Setting, Update, View
from condhpc.view_tables import Line

_WIDTHS = (9, 14, 8, 7, 9, 9, 8, 5)
_FROM = (0, 0, 50, 66, 0, 58, 72, 80)
_SOURCES = {
    "sacct": "charged by Slurm's accounting, requeued attempts with it",
    "attempts": "own diaries: there is no accounting",
    "records": "records alone: what failed is missing",
}


class Cost(View):
    """Lines above, totals, budget and waste below."""

    TITLE = "Cost"
    DEFAULT_CSS = "Cost > Page { border-top: solid $primary; }"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._costs = Costs()
        self._table = view_tables.costs(self._costs)
        self._rows: Grid[Line] = Grid(self._shape(), empty="nothing was charged yet", id="costs")
        self._sums = Page(id="sums")

    def compose(self) -> ComposeResult:
        """Lines, then what they come to."""
        yield self._rows
        yield self._sums

    def _shape(self) -> Any:
        return shape_of(self._table, _WIDTHS, grow=1, from_widths=_FROM, decimals=3)

    def show(self, update: Update) -> None:
        """All lines anew: they are few."""
        costs = update.snapshot.outlook.costs
        self._sums.set_lines(sum_lines(costs))
        if costs.lines != self._costs.lines or not self._rows.table.rows:
            self._table = view_tables.costs(costs)
            self._rows.reshape(self._shape())
            self._rows.replace(self._table.lines)
        self._costs = costs

    @property
    def grid(self) -> Grid[Any]:
        """The lines."""
        return self._rows

    def tasks_of(self, lines: list[str]) -> list[str]:
        """No task: a line is of many."""
        del lines
        return []

    def sheet(self) -> Sheet:
        """The lines as numbers."""
        return self._table.header, self._table.rows()


def sum_lines(costs: Costs) -> list[list[Part]]:
    """Totals by GPU type, plan, budget, waste by cause, where the figures come from, what grades mean."""
    lines: list[list[Part]] = list(cost_lines(costs))
    waste = view_tables.waste(costs)
    if waste.lines:
        lines += [[], [("waste by cause", "busy")]]
        lines += plain(aligned(waste.header, waste.rows()))
    if costs.source in _SOURCES:
        lines += [[], [(f"source: {_SOURCES[costs.source]}", "dim")]]
    if any(line.grade for line in costs.lines):
        lines.append([("grades: A own GPUs, B shared counter, C modelled, D nominal power; the worst counts", "dim")])
    return lines
