"""From tables of values to grids, and what a view exports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from condhpc.tables import Cell, cell_text
from condhpc.task_state import State
from condhpc.tui.grid import Grid
from condhpc.tui.page import Part
from condhpc.tui.table import Column, Order, Shape, Tone
from condhpc.view_tables import Line, Table

R = TypeVar("R")


class Rows(Generic[R]):
    """Rows that are made when they are written: 100,000 of them would hold up the screen."""

    def __init__(self, held: Sequence[R], cells: Callable[[R], Sequence[Cell]]) -> None:
        self._held, self._cells = held, cells

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Sequence[Cell]]:
        return map(self._cells, self._held)


Sheet = tuple[Sequence[str], Sequence[Sequence[Cell]] | Rows[Any]]
"""Header and rows, as CSV wants them."""


def of_grid(grid: Grid[Any]) -> Sheet:
    """Columns of a grid and every row that passes its filters, in its order; groups are their rows."""
    table = grid.table
    columns, rows = (
        table.shape.columns,
        table.rows,
    )  # other rows come in another dict: these stay while they are written
    keys: dict[str, None] = {}
    for line in table.shown:
        if table.is_group(line):
            keys.update(dict.fromkeys(table.members(line)))
        else:
            keys[line] = None
    titles = ["key", *(column.title for column in columns)]
    return titles, Rows(list(keys), lambda key: (key, *(column.text(rows[key]) for column in columns)))


def plain(texts: Iterable[str]) -> list[list[Part]]:
    """Lines of a page without a tone."""
    return [[(text, "")] for text in texts]


def shape_of(
    table: Table,
    widths: Sequence[int],
    *,
    grow: int,
    from_widths: Sequence[int] = (),
    decimals: int = 2,
    tones: Mapping[State, Tone] | None = None,
) -> Shape[Line]:
    """Columns of these widths (the last one again for all that follow); `grow` is the one that takes what is left over.

    Columns of numbers stand to the right. `from_widths`: how wide a screen each wants. `tones`: by any cell's text.
    """
    screens = [*from_widths, *([0] * (len(table.header) - len(from_widths)))]
    columns = tuple(
        Column(
            title,
            _texts(place, decimals),
            widths[min(place, len(widths) - 1)],
            grow=int(place == grow),
            right=_is_number(table, place),
            order=_orders(place, decimals, is_number=_is_number(table, place)),
            from_width=screens[place],
        )
        for place, title in enumerate(table.header)
    )
    by_text: dict[str, Tone] = {str(state): tone for state, tone in (tones or {}).items()}
    return Shape(
        columns=columns,
        key=lambda line: line.key,
        text=lambda line: " ".join(cell_text(cell, decimals) for cell in line.cells),
        tone=lambda line: next((by_text[cell] for cell in line.cells if isinstance(cell, str) and cell in by_text), ""),
    )


def _is_number(table: Table, place: int) -> bool:
    held = [line.cells[place] for line in table.lines]
    return any(isinstance(cell, int | float) for cell in held) and not any(isinstance(cell, str) for cell in held)


def _texts(place: int, decimals: int) -> Callable[[Line], str]:
    return lambda line: cell_text(line.cells[place], decimals)


def _orders(place: int, decimals: int, *, is_number: bool) -> Callable[[Line], Order]:
    def order(line: Line) -> Order:
        cell = line.cells[place]
        if is_number:
            return float("-inf") if cell is None or isinstance(cell, str) else cell
        return cell_text(cell, decimals)

    return order
