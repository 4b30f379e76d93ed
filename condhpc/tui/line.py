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
            self._said = clean
            self.update(Text(clean))
