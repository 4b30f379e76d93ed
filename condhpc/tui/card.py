"""What is told of one condensed set, and its pictures: two pixels in each character."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from rich.cells import set_cell_size
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from condhpc.set_card import SetCard
from condhpc.set_pictures import LABEL_CHARS, PictureLine, Pictures
from condhpc.tables import printable
from condhpc.tui import folds
from condhpc.tui.ascii_driver import AsciiDriver

_NAME_CHARS = 24
_LEAST_VALUE_CHARS = 24
"""What values have at least, where names would leave them less."""
_INDENT = 2
_FACTS_CHARS = 58
_BESIDE_FROM = 98
"""Columns from which facts and pictures stand beside each other."""
_DRAWING = "drawing pictures ..."
_FIRST_LINES = 40
_UPPER_HALF = "\u2580"
_FACT_NAME = Style(dim=True)


class Card(ScrollView, can_focus=True):
    """A card's facts, then its pictures: two pixels per character, or shades where there are no colours."""

    DEFAULT_CSS = "Card { overflow-x: hidden; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "Down", show=False, id="card.down"),
        Binding("up,k", "scroll_up", "Up", show=False, id="card.up"),
        Binding("pagedown,ctrl+d", "page_down", "Page down", show=False, id="card.page_down"),
        Binding("pageup,ctrl+u", "page_up", "Page up", show=False, id="card.page_up"),
        Binding("home,g", "scroll_home", "First", show=False, id="card.first"),
        Binding("end,G", "scroll_end", "Last", show=False, id="card.last"),
    ]

    class Drawn(Message):
        """Pictures of this file are wanted, so many columns wide."""

        def __init__(self, file: Path, columns: int) -> None:
            super().__init__()
            self.file, self.columns = file, columns

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._card: SetCard | None = None
        self._facts: list[tuple[str, str]] = []
        self._fact_lines: list[tuple[str, str]] = []
        """Facts as they fold at the width of the screen: name and value of each line."""
        self._picture: list[PictureLine] = []
        self._drawn_for = -1
        """Columns that pictures were asked for."""
        self._side = 0
        """Columns of the facts where pictures stand beside them; 0 where they stand below."""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is told, line by line."""
        return self._facts

    @property
    def file(self) -> Path | None:
        """Where the images are of the set that is shown."""
        return None if self._card is None else self._card.file

    @property
    def picture(self) -> list[PictureLine]:
        """Lines of pictures."""
        return self._picture

    def set_card(self, card: SetCard | None, words: str = "") -> None:
        """Show this set; without one, words."""
        self._card = card
        if card is None:
            self._facts = [("", words)]
        else:
            self._facts = [("set", card.title), *card.facts, ("", card.note if card.file is None else _DRAWING)]
        self._picture = []
        self._drawn_for = -1
        self._lay_out()
        self.scroll_home(animate=False, force=True, immediate=True)

    def renew(self, card: SetCard) -> None:
        """Other facts of the set that is shown; its pictures stay, and so does the place one reads."""
        if self._card is None or card.file != self.file:
            self.set_card(card)
            return
        self._card = card
        self._facts = [("set", card.title), *card.facts, self._facts[-1] if card.file is not None else ("", card.note)]
        self._lay_out()

    def set_pictures(self, found: Pictures) -> None:
        """Show these, and what there is to say of them."""
        self._picture = found.lines
        self._facts = [*self._facts[:-1], ("", printable(found.note))]
        self._lay_out()

    def on_resize(self, event: Resize) -> None:
        """Pictures are as large as fits."""
        del event
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.size.width
        self._side = _FACTS_CHARS if width >= _BESIDE_FROM and self.file is not None else 0
        if self.file is not None and width and width - self._side != self._drawn_for:
            self._drawn_for = width - self._side
            self.post_message(self.Drawn(self.file, self._drawn_for))
        self._fact_lines = [line for fact in self._facts for line in _folded(*fact, self._side or max(width, 1))]
        facts, picture = len(self._fact_lines), len(self._picture)
        self.virtual_size = Size(max(width, 1), max(facts, picture) if self._side else facts + picture)
        self.refresh()

    def action_pictures(self) -> None:
        """To the pictures below the facts, and back."""
        at_facts = self.scroll_offset.y < min(len(self._fact_lines), self.max_scroll_y)
        self.scroll_to(y=len(self._fact_lines) if at_facts else 0, animate=False, force=True, immediate=True)

    def render_line(self, y: int) -> Strip:
        """One line of the screen: a fact, a line of a picture, or both beside each other."""
        index, width, base = self.scroll_offset.y + y, self.size.width, self.rich_style
        if not self._side:
            facts = len(self._fact_lines)
            return self._fact(index, width, base) if index < facts else self._pixels(index - facts, width, base)
        room = width - self._side
        return Strip.join([self._fact(index, self._side, base), self._pixels(index, room, base)])

    def _fact(self, index: int, width: int, base: Style) -> Strip:
        if index >= len(self._fact_lines):
            return Strip.blank(width, base)
        name, value = self._fact_lines[index]
        segments = [Segment(name, base + _FACT_NAME), Segment(value, base)]
        return Strip(segments).adjust_cell_length(width, base).crop(0, width)

    def _pixels(self, index: int, width: int, base: Style) -> Strip:
        if index >= len(self._picture):
            return Strip.blank(width, base)
        line = self._picture[index]
        segments = [Segment(set_cell_size(line.name, LABEL_CHARS + 1), base + _FACT_NAME)]
        if shows_colours(self.app):
            segments += _halves(line, Segment(" ", base))
        else:
            segments.append(Segment(line.shades, base))
        return Strip(segments).adjust_cell_length(width, base).crop(0, width)


def _folded(name: str, value: str, width: int) -> Iterator[tuple[str, str]]:
    """A fact in as many lines as it takes: a name beside its value, or above it where the screen is narrow."""
    if not name:
        yield from (("", part) for part in folds.words(value, width))
    elif width >= _NAME_CHARS + _LEAST_VALUE_CHARS:
        names, values = folds.words(name, _NAME_CHARS - 1), folds.words(value, width - _NAME_CHARS - 1)
        for part, of_value in zip_longest(names, values, fillvalue=""):
            yield set_cell_size(part, _NAME_CHARS), of_value
    else:
        yield from ((part, "") for part in folds.words(name, width))
        yield from ((" " * _INDENT, part) for part in folds.words(value, max(width - _INDENT, 1)))


def _halves(line: PictureLine, gap: Segment) -> Iterator[Segment]:
    """Two pixels in each character."""
    for place, held in enumerate(line.held):
        colours = slice(3 * place, 3 * place + 3)
        yield _half(line.upper[colours], line.lower[colours]) if held else gap


def begun(found: Pictures) -> Pictures:
    """Characters of the first screen are made beside the one that is shown, not when it is painted."""
    for line in found.lines[:_FIRST_LINES]:
        deque(_halves(line, Segment(" ")), maxlen=0)
    return found


@lru_cache(maxsize=1 << 12)
def _half(upper: bytes, lower: bytes) -> Segment:
    """Kept, since all of a screen are asked for when one scrolls by a line."""
    return Segment(_UPPER_HALF, Style(color=_colour(upper), bgcolor=_colour(lower)))


def _colour(rgb: bytes) -> Color:
    """As `Color.from_rgb` makes it, in half the time: a screen has thousands."""
    return Color(f"#{rgb.hex()}", ColorType.TRUECOLOR, None, ColorTriplet(*rgb))


def shows_colours(app: Any) -> bool:
    """Whether pictures can be shown in colours: these are wanted, and the terminal has the character."""
    return not app.no_color and not issubclass(app.driver_class, AsciiDriver)
