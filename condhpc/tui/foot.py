"""The line of keys at the bottom."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import HorizontalGroup
from textual.widget import Widget
from textual.widgets import Footer

_KEPT = ("help", "quit")


class Foot(Footer):
    """Keys that work here; help and the way out stay in sight, however many there are and however narrow it is.

    Textual makes its footer anew whenever the focus moves, which was half of what a key cost: here only for other keys.
    """

    DEFAULT_CSS = "Foot > HorizontalGroup { dock: right; width: auto; height: 1; background: $footer-background; }"

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._named: list[tuple[Binding, bool, str]] | None = None
        """What is on screen: bindings, whether they work now, their tooltips."""

    async def recompose(self) -> None:
        """Only if there is something new to name."""
        of = self.screen.active_bindings.values()
        now = [(binding, enabled, tooltip) for _, binding, enabled, tooltip in of if binding.show]
        if now != self._named:
            self._named = now
            await super().recompose()

    def compose(self) -> ComposeResult:
        """Textual's keys, of which some are put to the right."""
        kept: list[Widget] = []
        yield from self._others(kept)
        if kept:
            yield HorizontalGroup(*kept)

    def _others(self, kept: list[Widget]) -> Iterator[Widget]:
        for key in super().compose():
            if getattr(key, "action", "") in _KEPT:
                kept.append(key)
            else:
                yield key
