"""Lines of a log: wrapped or not, with what was searched marked; only lines on screen are drawn."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from condhpc.log_tail import matching
from condhpc.tui import folds

_FOUND = Style(reverse=True)
_HERE = Style(reverse=True, bold=True, underline=True)


class TextPane(ScrollView, can_focus=True):
    """Scrolls by lines of the screen; knows places by lines of the text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "Down", show=False, id="log.down"),
        Binding("up,k", "scroll_up", "Up", show=False, id="log.up"),
        Binding("right", "scroll_right", "Right", show=False, id="log.right"),
        Binding("left", "scroll_left", "Left", show=False, id="log.left"),
        Binding("pagedown,ctrl+d", "page_down", "Page down", show=False, id="log.page_down"),
        Binding("pageup,ctrl+u", "page_up", "Page up", show=False, id="log.page_up"),
        Binding("home,g", "scroll_home", "First", show=False, id="log.first"),
        Binding("end,G", "scroll_end", "Last", show=False, id="log.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.wraps = False
        self.needle = ""
        self.found: list[int] = []
        """Lines that hold the needle."""
        self.here = 0
        """Which of them is the one gone to."""
        self._lines: Sequence[str] = ()
        self._sizes: list[int] = []
        """Of each line: lines of the screen while they wrap, else cells."""
        self._fold = 0
        """Columns at which they were folded; 0: they run out of the screen."""
        self._starts: list[int] = []
        """First line of the screen of each line of the text, while they wrap."""
        self._height = 0
        """Of the screen for which it was laid out last."""

    @property
    def lines(self) -> Sequence[str]:
        """The text."""
        return self._lines

    def set_lines(self, lines: Sequence[str], dropped: int = 0) -> None:
        """Show these lines; `dropped`: how many went away at the top, so that what is read stays where it is."""
        at_end = self.is_at_end
        top = self._line_at(self.scroll_offset.y)[0] - dropped
        self._take(lines, dropped)
        self._lay_out()
        if at_end:
            self.to_end()
        elif dropped:
            self.scroll_to(y=self._start_of(max(top, 0)), animate=False, force=True, immediate=True)

    def _take(self, lines: Sequence[str], dropped: int) -> None:
        """What was found of lines that are still there stays: a log that grows is not measured anew."""
        kept = _same(self._lines, lines, dropped)
        here = self.found[self.here] - dropped if self.found else -1
        found = [place - dropped for place in self.found if dropped <= place < dropped + kept]
        self.found = found + [kept + place for place in matching(lines[kept:], self.needle)]
        self.here = min(bisect_left(self.found, here), max(len(self.found) - 1, 0))
        self._sizes = self._sizes[dropped : dropped + kept]
        self._lines = lines

    @property
    def is_at_end(self) -> bool:
        """Whether the last line is on screen."""
        return self.scroll_offset.y >= self.virtual_size.height - self.size.height

    def to_end(self) -> None:
        """To the last line."""
        self.scroll_to(y=max(self.virtual_size.height - self.size.height, 0), animate=False, force=True, immediate=True)

    def set_wrap(self, *, wraps: bool) -> None:
        """Fold long lines, or let them run out of the screen; the line on top stays there."""
        top = self._line_at(self.scroll_offset.y)[0]
        self.wraps = wraps
        self._lay_out()
        self.scroll_to(x=0, y=self._start_of(top), animate=False, force=True, immediate=True)

    def search(self, needle: str) -> None:
        """Mark a text, and go to its first place from here on."""
        among: Sequence[int] = range(len(self._lines))
        if self.needle and self.needle.casefold() in needle.casefold():
            among = self.found  # typing on leaves fewer lines
        self.needle = needle
        self.found = [among[place] for place in matching([self._lines[place] for place in among], needle)]
        top = self._line_at(self.scroll_offset.y)[0]
        self.here = next((i for i, place in enumerate(self.found) if place >= top), 0)
        self.go(0)

    def go(self, by: int) -> None:
        """To the next place, or one before; round and round."""
        if self.found:
            self.here = (self.here + by) % len(self.found)
            line = self._start_of(self.found[self.here])
            top = self.scroll_offset.y
            if not top <= line < top + self.size.height:
                self.scroll_to(y=max(line - self.size.height // 2, 0), animate=False, force=True, immediate=True)
        self.refresh()

    # -- drawing -------------------------------------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        """Lines fold elsewhere; whoever was at the end stays there."""
        del event
        was_at_end = self.scroll_offset.y >= self.virtual_size.height - self._height
        self._height = self.size.height
        self._lay_out()
        if was_at_end:
            self.to_end()

    def _lay_out(self) -> None:
        """Measure what is new, or all where it folds elsewhere."""
        fold = max(self.size.width, 1) if self.wraps else 0
        if fold != self._fold:
            self._fold, self._sizes = fold, []
        new = self._lines[len(self._sizes) :]
        self._sizes += folds.rows(new, fold) if fold else folds.cells(new)
        if fold:
            *self._starts, total = accumulate(self._sizes, initial=0)
            self.virtual_size = Size(fold, total)
        else:
            self.virtual_size = Size(max(self._sizes, default=1) or 1, len(self._lines))
        self.refresh()

    def _line_at(self, row: int) -> tuple[int, int]:
        """Line of the text, and part of it, at a line of the screen."""
        if not self.wraps or row >= self.virtual_size.height:
            return (row if not self.wraps else len(self._lines)), 0
        line = bisect_right(self._starts, row) - 1
        return line, row - self._starts[line]

    def _start_of(self, line: int) -> int:
        return self._starts[line] if self.wraps and line < len(self._starts) else line

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width, base = self.size.width, self.rich_style
        line, part = self._line_at(self.scroll_offset.y + y)
        if line >= len(self._lines):
            return Strip.blank(width, base)
        whole = self._lines[line]
        text = Text(folds.parts(whole, self._fold)[part] if self._fold else whole, end="")
        if self.needle:
            current = bool(self.found) and self.found[self.here] == line
            _mark(text, self.needle.casefold(), _HERE if current else _FOUND)
        left = 0 if self.wraps else self.scroll_offset.x
        strip = Strip(text.render(self.app.console)).apply_style(base)  # a text without marks comes without a style
        return strip.crop(left, left + width).adjust_cell_length(width, base)


def _same(before: Sequence[str], now: Sequence[str], dropped: int) -> int:
    """How many lines at the top are those that were there below the dropped ones: the same objects."""
    pairs = zip(islice(before, dropped, None), now, strict=False)
    return next(
        (place for place, (old, new) in enumerate(pairs) if old is not new),
        max(min(len(before) - dropped, len(now)), 0),
    )


def _mark(text: Text, needle: str, style: Style) -> None:
    """Where folding the case changes a text's length nothing is marked: places would be wrong."""
    hay = text.plain.casefold()
    if len(hay) != len(text.plain):
        return
    start = hay.find(needle)
    while start >= 0:
        text.stylize(style, start, start + len(needle))
        start = hay.find(needle, start + len(needle))
