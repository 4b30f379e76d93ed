"""How the columns of a table share a screen's width; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from condhpc.tui.table import Column

GUTTER = 4
"""Before the columns: a mark, a fold, two spaces."""
_GAP = 2


def widths(columns: Sequence[Column[Any]], screen: int) -> list[int]:
    """Cells of each column on a screen so wide; 0 for columns that are for wider ones."""
    shown = [column for column in columns if screen >= column.from_width]
    spare = max(screen - GUTTER - sum(column.width + _GAP for column in shown) + _GAP, 0)
    shares = sum(column.grow for column in shown) or 1
    return [column.width + spare * column.grow // shares if column in shown else 0 for column in columns]


def laid_out(columns: Sequence[Column[Any]], cells: Sequence[str], widths_: Sequence[int]) -> str:
    """One line: each text in its column."""
    placed = zip(columns, cells, widths_, strict=True)
    return (" " * _GAP).join(_fitted(cell, width, right=column.right) for column, cell, width in placed if width)


def column_at(columns: Sequence[Column[Any]], widths_: Sequence[int], x: int) -> Column[Any] | None:
    """The column under a place of the screen."""
    at = GUTTER
    for column, width in zip(columns, widths_, strict=True):
        if width and at <= x < at + width + _GAP:
            return column
        at += width + _GAP if width else 0
    return None


def _fitted(text: str, width: int, *, right: bool) -> str:
    """Exactly so many cells; what is cut ends in an ellipsis."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if right else text + " " * (width - length)
