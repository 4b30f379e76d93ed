"""The line of keys at the bottom."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import HorizontalGroup
from textual.widget import Widget
from textual.widgets import Footer

_KEPT = ("help", "quit")


class Foot(Footer):
    """Keys that work here; help and the way out stay in sight, however many there are and however narrow it is."""

    DEFAULT_CSS = "Foot > HorizontalGroup { dock: right; width: auto; height: 1; background: $footer-background; }"

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
