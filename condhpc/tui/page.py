"""Lines of text that scroll; only those that changed are painted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from condhpc.tables import printable
from condhpc.tui.table import Tone
from condhpc.tui.tones import tone_style

Part = tuple[str, Tone]


class Page(ScrollView, can_focus=True):
    """Lines made of parts, each with a tone; texts may be of any origin."""

    DEFAULT_CSS = "Page { scrollbar-size-horizontal: 0; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "Down", show=False, id="page.down"),
        Binding("up,k", "scroll_up", "Up", show=False, id="page.up"),
        Binding("right", "scroll_right", "Right", show=False, id="page.right"),
        Binding("left", "scroll_left", "Left", show=False, id="page.left"),
        Binding("pagedown,ctrl+d", "page_down", "Page down", show=False, id="page.page_down"),
        Binding("pageup,ctrl+u", "page_up", "Page up", show=False, id="page.page_up"),
        Binding("home,g", "scroll_home", "First", show=False, id="page.first"),
        Binding("end,G", "scroll_end", "Last", show=False, id="page.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._lines: list[list[Part]] = []

    @property
    def lines(self) -> list[str]:
        """The texts as they are shown."""
        return ["".join(text for text, _ in line) for line in self._lines]

    def set_lines(self, lines: Iterable[str | Sequence[Part]]) -> None:
        """Show these lines; a plain text is one part without a tone."""
        new = [_clean([(line, "")] if isinstance(line, str) else line) for line in lines]
        old, self._lines = self._lines, new
        self.virtual_size = Size(max((len(text) for text in self.lines), default=0), len(new))
        top = self.scroll_offset.y
        for y in range(self.size.height):
            if old[top + y : top + y + 1] != new[top + y : top + y + 1]:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        index, width = self.scroll_offset.y + y, self.size.width
        base = self.rich_style
        variables = self.app.theme_variables
        parts = self._lines[index] if index < len(self._lines) else []
        whole = Strip([Segment(text, base + tone_style(tone, variables)) for text, tone in parts])
        strip = whole.crop(self.scroll_offset.x, self.scroll_offset.x + width)
        return strip.adjust_cell_length(width, base)


def _clean(line: Sequence[Part]) -> list[Part]:
    return [(printable(text), tone) for text, tone in line]
