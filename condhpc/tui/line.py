"""A few words of any origin that may wrap; painted only when they change."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from condhpc.tables import printable

_MOST_CHARS = 2_000


class Line(Static):
    """Plain text: nothing in it is markup, and no byte of it reaches the terminal as a command."""

    DEFAULT_CSS = "Line { height: auto; max-height: 4; }"

    def __init__(self, text: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(Text(text), id=id, markup=False)
        self._said = text

    @property
    def said(self) -> str:
        """The text as it is shown."""
        return self._said

    def say(self, text: str) -> None:
        """Show this; line breaks stay."""
        clean = "\n".join(printable(line) for line in text[:_MOST_CHARS].split("\n"))
        if clean != self._said:
            was, self._said = self._said, clean
            # A new layout paints the whole screen: only where the text takes more lines, or fewer.
            self.update(Text(clean), layout=self._height(was) != self._height(clean))

    def _height(self, text: str) -> int:
        width = self.size.width
        return len(Text(text).wrap(self.app.console, width)) if width else 0
