"""A table of tasks that formats only the lines on screen, so that 100,000 rows cost what 50 do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from condhpc.findings import Row
from condhpc.log_view import label_text
from condhpc.status_text import step_text
from condhpc.tables import duration, printable
from condhpc.task_state import BAD, State

_STYLES: dict[State, Style] = {
    "recorded": Style(color="green"),
    "running": Style(color="cyan", bold=True),
    "queued": Style(),
    "failed": Style(color="red", bold=True),
    "blocked": Style(color="yellow"),
    "lost": Style(color="magenta", bold=True),
    "over_budget": Style(color="yellow", bold=True),
    "new": Style(dim=True),
}
_HEADER = Style(bold=True, underline=True)
_CURSOR = Style(reverse=True)
_MAX_LABEL_CHARS = 56
_MAX_STEP_CHARS = 50
"""`3700/4000, 12 min left, 21,400 images/s, loss 1.25`."""
_DETAIL_CHARS = 200


class TaskTable(ScrollView, can_focus=True):
    """Rows of a snapshot, filtered; the cursor stays on its task when rows change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False),
        Binding("home,g", "move(-10000000)", "First", show=False),
        Binding("end,G", "move(10000000)", "Last", show=False),
    ]

    class Pointed(Message):
        """The cursor is on another row, or its row changed; None in an empty table."""

        def __init__(self, row: Row | None) -> None:
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        super().__init__()
        self._all: Sequence[Row] = ()
        self._shown: list[Row] = []
        self._labels: dict[str, str] = {}
        self._label_chars = 4
        self._step_chars = 4
        self._failures_only = False
        self._needle = ""
        self._cursor = 0
        self._now = 0.0
        self._painted: list[str] = []

    @property
    def shown(self) -> Sequence[Row]:
        """Rows that pass the filters."""
        return self._shown

    def set_rows(self, rows: Sequence[Row], now: float) -> None:
        """Show these rows as of `now`; nothing is painted where no visible text changed."""
        self._all, self._now = rows, now
        if len(self._labels) != len(rows):
            self._labels = {row.key: printable(label_text(row.label)) for row in rows}
            longest = max(map(len, self._labels.values()), default=4)
            self._label_chars = min(max(longest, 4), _MAX_LABEL_CHARS)
        longest = max((len(step_text(row)) for row in rows if row.state == "running"), default=4)
        self._step_chars = min(max(longest, 4), _MAX_STEP_CHARS)
        self._select()

    def set_filter(self, *, failures_only: bool, needle: str) -> None:
        """Keep rows that failed, are blocked or lost, and that contain a text in any column."""
        self._failures_only, self._needle = failures_only, needle.casefold()
        self._select()

    def _select(self) -> None:
        held = self._shown[self._cursor].key if self._cursor < len(self._shown) else ""
        self._shown = [row for row in self._all if self._passes(row)]
        self._cursor = next((i for i, row in enumerate(self._shown) if row.key == held), 0) if held else 0
        self.virtual_size = Size(self.size.width, len(self._shown) + 1)
        self._point()

    def _passes(self, row: Row) -> bool:
        if self._failures_only and row.state not in BAD:
            return False
        if not self._needle:
            return True
        text = " ".join((row.state, row.stage, self._labels[row.key], row.key, row.element, row.host, row.detail))
        return self._needle in text.casefold()

    def _point(self) -> None:
        row = self._shown[self._cursor] if self._shown else None
        self.post_message(self.Pointed(row))
        texts = [self._text(y) for y in range(self.size.height)]
        if texts != self._painted:
            self.refresh()

    # -- drawing -------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the screen; the first is the header and stays."""
        width = self.size.width
        text = self._text(y)
        self._painted = self._painted if len(self._painted) == self.size.height else [""] * self.size.height
        self._painted[y] = text
        index = self.scroll_offset.y + y - 1
        if y == 0:
            style = _HEADER
        elif index < len(self._shown):
            style = _STYLES[self._shown[index].state] + (_CURSOR if index == self._cursor else Style())
        else:
            style = Style()
        strip = Strip([Segment(text, style)])
        return strip.adjust_cell_length(width, style if y == 0 else None).crop(0, width)

    def _text(self, y: int) -> str:
        if y == 0:
            return self._columns("state", "stage", "task", "step", "for", "where", "tries", "detail")
        index = self.scroll_offset.y + y - 1
        if index >= len(self._shown):
            return "no task to show" if y == 1 else ""
        row = self._shown[index]
        age = duration(self._now - row.since_s) if row.state == "running" and row.since_s is not None else ""
        tries = "" if row.attempts is None else str(row.attempts)
        detail = printable(row.detail[:_DETAIL_CHARS])
        where = printable(row.element or row.host)
        return self._columns(
            row.state, row.stage, self._labels[row.key], printable(step_text(row)), age, where, tries, detail
        )

    def _columns(self, *texts: str) -> str:
        widths = (8, 8, self._label_chars, self._step_chars, 7, 12, 5)
        cut = (f"{text[:width]:<{width}}" for text, width in zip(texts, widths, strict=False))
        return "  ".join((*cut, texts[-1]))

    # -- moving --------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor by rows."""
        if not self._shown:
            return
        self._cursor = min(max(self._cursor + by, 0), len(self._shown) - 1)
        self.scroll_to_region(Region(0, self._cursor, 1, 2), animate=False, force=True)
        self._painted = []
        self._point()

    def action_page(self, by: int) -> None:
        """Move the cursor by screens."""
        self.action_move(by * max(1, self.size.height - 2))

    def on_click(self, event: Click) -> None:
        """Point at the row under the mouse."""
        index = self.scroll_offset.y + event.y - 1
        if event.y > 0 and index < len(self._shown):
            self.action_move(index - self._cursor)
