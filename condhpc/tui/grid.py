"""A table of any length: only the lines on screen are formatted, only those that changed are painted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, Final, Generic

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.worker import Worker

from condhpc.tables import printable
from condhpc.tui.columns import GUTTER, column_at, laid_out, widths
from condhpc.tui.marks import Marks
from condhpc.tui.matching import matcher
from condhpc.tui.members import R
from condhpc.tui.table import PIECE, Column, Shape, Table
from condhpc.tui.tones import tone_style

_HEADER = Style(bold=True, underline=True)
_CURSOR = Style(reverse=True)
_DONE: Final = object()
_AT_ONCE_S = 0.05
"""A filter that takes longer goes on in pieces, also over few rows."""
_CELL_CHARS = 400
"""A text of megabytes is not made harmless as a whole to show its beginning."""


class Grid(ScrollView, Generic[R], can_focus=True):
    """Lines of a `Table`; the cursor stays on its row, and marks on theirs, when rows change."""

    DEFAULT_CSS = "Grid { overflow-x: hidden; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False, id="grid.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="grid.up"),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False, id="grid.page_down"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="grid.page_up"),
        Binding("home,g", "move(-100000000)", "First", show=False, id="grid.first"),
        Binding("end,G", "move(100000000)", "Last", show=False, id="grid.last"),
        Binding("space", "mark", "Mark", id="grid.mark"),
        Binding("shift+down,J", "mark_on(1)", "Mark downwards", show=False, id="grid.mark_down"),
        Binding("shift+up,K", "mark_on(-1)", "Mark upwards", show=False, id="grid.mark_up"),
        Binding("A", "mark_all", "Mark all shown", show=False, id="grid.mark_all"),
        Binding("U", "unmark", "Unmark all", show=False, id="grid.unmark"),
        Binding("right", "fold(False)", "Open the group", show=False, id="grid.open"),
        Binding("left", "fold(True)", "Close the group", show=False, id="grid.close"),
        Binding("x", "fold_all", "Open or close all", show=False, id="grid.fold_all"),
        Binding("enter", "pick", "Open", show=False, id="grid.pick"),
    ]

    class Pointed(Message):
        """The cursor is on another line, or its line changed; None in an empty table."""

        def __init__(self, grid: Grid[Any], key: str | None) -> None:
            super().__init__()
            self.grid, self.key = grid, key

        @property
        def control(self) -> Grid[Any]:
            """Whose."""
            return self.grid

    class Picked(Pointed):
        """Enter, or a second click, on a row that is no group."""

    def __init__(self, shape: Shape[R], *, empty: str = "nothing to show", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.table = Table(shape)
        self.marks = Marks(self.table.group_of, self.table.passes)
        self._empty = empty
        self._cursor = 0
        self._held = ""
        """Key of the line under the cursor."""
        self._painted: list[tuple[str, Style]] = []
        self._arranging: Worker[None] | None = None
        self._to_top = False
        """Whether the next arrangement is another order, of which one wants to see the first."""
        self._sought = ""
        """Key of a row that the cursor goes to when lines are arranged."""
        self.needle = ""
        """What rows are filtered by, as it was typed."""
        self.is_kept = False
        """Whether only rows to be kept are shown."""

    # -- rows ----------------------------------------------------------------------------------------------------

    def reshape(self, shape: Shape[R]) -> None:
        """Other columns; give the rows anew after it. The order is kept where its column is."""
        by = self.table.by
        self.table.shape = shape
        self.table.by = next((c for c in shape.columns if by is not None and c.title == by.title), None)
        self._painted = []

    def replace(self, rows: Iterable[R]) -> None:
        """Other rows altogether; cursor and marks stay on those that are still there."""
        held = list(rows)
        self.table.replace(held)
        self.marks.keep(map(self.table.shape.key, held))
        self.rearrange()

    def change(self, rows: Iterable[R]) -> None:
        """Rows that changed; only their lines are painted where nothing moves."""
        if self.table.change(rows):
            self.rearrange()
        else:
            self.repaint()

    def where(self, needle: str, keep: Callable[[R], bool] | None = None) -> None:
        """Show what matches a text that a person typed, and is to be kept."""
        self.needle, self.is_kept = needle, keep is not None
        self.table.where(matcher(needle), keep)
        self.rearrange()

    def sort(self, title: str | None, *, descending: bool = False) -> None:
        """Sort by the column of that title, and go to the first line; None: as rows came."""
        found = [column for column in self.table.shape.columns if column.title == title]
        self.table.sort(found[0] if found else None, descending=descending)
        self._to_top = True
        self.rearrange()

    def group(self, by: Callable[[R], str] | None) -> None:
        """Collapse rows by what `by` says of them."""
        self.table.group(by)
        self.rearrange()

    def rearrange(self) -> None:
        """Bring the lines up to date: at once where rows are few, else in pieces between which keys are answered."""
        if self._arranging is not None:
            self._arranging.cancel()
            self._arranging = None
        pieces, begun_s = self.table.arrange(), perf_counter()
        while self.table.count <= PIECE and perf_counter() - begun_s < _AT_ONCE_S:
            if next(pieces, _DONE) is _DONE:
                self._arranged()
                return
        self._arranging = self.run_worker(partial(self._in_pieces, pieces), exclusive=True, group="arrange")

    async def _in_pieces(self, pieces: Iterator[None]) -> None:
        for _ in pieces:
            await asyncio.sleep(0)
        self._arranging = None
        self._arranged()

    def _arranged(self) -> None:
        """Lines are new: the cursor goes back to its line, or to the group that hides it, and stays in sight."""
        shown = self.table.shown
        was_seen = 0 <= self._cursor - self.scroll_offset.y < self.size.height - 1
        if self._to_top:
            self._cursor, self._held = 0, ""
        if not (self._cursor < len(shown) and shown[self._cursor] == self._held) and self._held:
            wanted = (self._held, self.table.group_of(self._held))
            self._cursor = next((shown.index(key) for key in wanted if key in shown), self._cursor)
        self._cursor = min(self._cursor, max(len(shown) - 1, 0))
        self._held = shown[self._cursor] if shown else ""
        self.marks.count()
        self.virtual_size = Size(self.size.width, len(shown) + 1)
        if was_seen or self._to_top:
            self._to_cursor()
        self._to_top = False
        if self._sought and self._arranging is None:
            sought, self._sought = self._sought, ""
            self.reveal(sought)
        self.repaint()

    # -- what is chosen ------------------------------------------------------------------------------------------

    @property
    def cursor_key(self) -> str | None:
        """The line under the cursor: a row, or a group (`table.is_group`)."""
        return self._held or None

    @property
    def selected(self) -> list[str]:
        """Keys of rows that an action concerns: marked ones in sight, else those behind the cursor's line."""
        if marked := self.marks.shown:
            return [key for key in self.table.rows if key in marked]
        return self.pointed

    @property
    def pointed(self) -> list[str]:
        """Keys of the rows behind the cursor's line."""
        return self.table.members(self._held)

    def reveal(self, key: str) -> None:
        """Put the cursor on a row, once lines are arranged; its group is opened. Nothing where the filters hide it."""
        if self._arranging is not None:
            self._sought = key
            return
        group = self.table.group_of(key)
        if group is not None and group not in self.table.open:
            self.table.open.add(group)
            self.table.unfold()
        if key in self.table.shown:
            self._move_to(self.table.shown.index(key))

    # -- drawing -------------------------------------------------------------------------------------------------

    def repaint(self) -> None:
        """Paint lines that are not what they were, and say where the cursor is."""
        self.post_message(self.Pointed(self, self._held or None))
        lines = [self._line(y) for y in range(self.size.height)]
        if len(lines) != len(self._painted):
            self.refresh()
            return
        for y, (new, old) in enumerate(zip(lines, self._painted, strict=True)):
            if new != old:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """One line of the screen; the first is the header and stays."""
        width = self.size.width
        text, style = self._line(y)
        if len(self._painted) != self.size.height:
            self._painted = [("", Style())] * self.size.height
        self._painted[y] = (text, style)
        base = self.rich_style
        return Strip([Segment(text, base + style)]).adjust_cell_length(width, base + style).crop(0, width)

    def _line(self, y: int) -> tuple[str, Style]:
        if y == 0:
            return self._header(), _HEADER
        index = self.scroll_offset.y + y - 1
        if index >= len(self.table.shown):
            return (self._empty if y == 1 and not self.table.shown else ""), Style()
        key = self.table.shown[index]
        text = self._gutter(key) + self._laid_out([printable(cell[:_CELL_CHARS]) for cell in self.table.cells(key)])
        style = tone_style(self.table.tone(key), self.app.theme_variables)
        return text, style + _CURSOR if index == self._cursor else style

    def _gutter(self, key: str) -> str:
        mark = self.marks.sign(key, len(self.table.members(key)))
        fold = " " if not self.table.is_group(key) else "▾" if key in self.table.open else "▸"
        return f"{mark}{fold} ".ljust(GUTTER)

    def _header(self) -> str:
        arrow = "▼" if self.table.descending else "▲"
        return " " * GUTTER + self._laid_out([
            f"{arrow}{column.title}" if column is self.table.by else column.title
            for column in self.table.shape.columns
        ])  # fmt: skip

    def _laid_out(self, cells: list[str]) -> str:
        columns = self.table.shape.columns
        return laid_out(columns, cells, widths(columns, self.size.width))

    # -- moving --------------------------------------------------------------------------------------------------

    def _move_to(self, index: int) -> None:
        shown = self.table.shown
        if not shown:
            return
        self._cursor = min(max(index, 0), len(shown) - 1)
        self._held = shown[self._cursor]
        self._to_cursor()
        self.repaint()

    def _to_cursor(self) -> None:
        self.scroll_to_region(Region(0, self._cursor, 1, 2), animate=False, force=True, immediate=True)

    def action_move(self, by: int) -> None:
        """Move the cursor by lines."""
        self._move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by screens."""
        self._move_to(self._cursor + by * max(1, self.size.height - 2))

    def action_mark(self) -> None:
        """Mark what the cursor's line stands for, or take the marks away; go on to the next line."""
        self._mark(self._held, on=None)
        self.action_move(1)

    def action_mark_on(self, by: int) -> None:
        """Mark this line and the next one."""
        self._mark(self._held, on=True)
        self.action_move(by)
        self._mark(self._held, on=True)

    def action_mark_all(self) -> None:
        """Mark all rows that pass the filters."""
        self.marks.turn({member for key in self.table.shown for member in self.table.members(key)}, on=True)
        self.repaint()

    def action_unmark(self) -> None:
        """No marks."""
        self.marks.clear()
        self.repaint()

    def _mark(self, key: str, *, on: bool | None) -> None:
        self.marks.turn(self.table.members(key), on=on)
        self.repaint()

    # -- groups --------------------------------------------------------------------------------------------------

    def action_fold(self, close: bool) -> None:  # noqa: FBT001 - an action's argument
        """Open or close the group under the cursor; a row closes its own."""
        key = self._held if self.table.is_group(self._held) else self.table.group_of(self._held)
        if key is None or (key not in self.table.open) == close:
            return
        (self.table.open.discard if close else self.table.open.add)(key)
        self._unfolded()

    def action_fold_all(self) -> None:
        """Open all groups; close them where one is open."""
        self.table.open = set() if self.table.open else {key for key in self.table.shown if self.table.is_group(key)}
        self._unfolded()

    def _unfolded(self) -> None:
        self.table.unfold()
        self._arranged()
        self._move_to(self._cursor)

    def action_pick(self) -> None:
        """Open or close a group; say that a row was picked."""
        if self.table.is_group(self._held):
            self.action_fold(self._held in self.table.open)
        elif self._held:
            self.post_message(self.Picked(self, self._held))

    # -- mouse ---------------------------------------------------------------------------------------------------

    def on_click(self, event: Click) -> None:
        """Sort by the header under the mouse; point at a line; a second click opens it."""
        if event.y == 0:
            columns = self.table.shape.columns
            self._sort_by(column_at(columns, widths(columns, self.size.width), event.x))
            return
        index = self.scroll_offset.y + event.y - 1
        if index >= len(self.table.shown):
            return
        self._move_to(index)
        if event.chain == 2 or (event.x < GUTTER and self.table.is_group(self._held)):
            self.action_pick()

    def _sort_by(self, column: Column[R] | None) -> None:
        """Upwards, then downwards, then not at all."""
        if column is None:
            return
        if column is not self.table.by:
            self.sort(column.title)
        elif not self.table.descending:
            self.sort(column.title, descending=True)
        else:
            self.sort(None)

    def on_resize(self, event: Resize) -> None:
        """Everything is somewhere else."""
        del event
        self._painted = []
        self.virtual_size = Size(self.size.width, len(self.table.shown) + 1)
        self.repaint()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other lines are on screen."""
        super().watch_scroll_y(old_value, new_value)
        self._painted = []
