"""Condensed sets of a run: what each is, and pictures of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from rich.cells import set_cell_size
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from condhpc import set_card, set_pictures
from condhpc.errors import CondhpcError
from condhpc.findings import Row
from condhpc.layout import Layout
from condhpc.log_view import label_text
from condhpc.outlook import CellResult
from condhpc.set_card import SetCard
from condhpc.set_pictures import LABEL_CHARS, PictureLine, Pictures
from condhpc.tables import printable
from condhpc.task_state import BAD, STATES
from condhpc.tui import folds
from condhpc.tui.ascii_driver import AsciiDriver
from condhpc.tui.beside import begin, beside
from condhpc.tui.grid import Grid
from condhpc.tui.table import Column, Shape
from condhpc.tui.tones import TONE_OF
from condhpc.tui.view import Known, Setting, Update, View

_NAME_CHARS = 24
_LEAST_VALUE_CHARS = 24
"""What values have at least, where names would leave them less."""
_INDENT = 2
_FACTS_CHARS = 58
_BESIDE_FROM = 98
"""Columns from which facts and pictures stand beside each other."""
_READ_AFTER_S = 0.2
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


def _begun(found: Pictures) -> Pictures:
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


class Sets(View):
    """All sets above, the one under the cursor below."""

    TITLE = "Set"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("p", "pictures", "Pictures or facts", id="set.pictures")]
    DEFAULT_CSS = """
    Sets > Grid { height: 1fr; max-height: 30%; min-height: 4; }
    Sets > Card { height: 2fr; border-top: solid $primary; }
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._rows: Grid[Row] = Grid(_SHAPE, empty="no condensed set is planned", id="sets")
        self._card = Card(id="card")
        self._held: dict[str, Row] = {}
        self._tasks = Known()
        self._cells: list[CellResult] = []
        self._wanted = ""
        self._shown: tuple[str, str] = ("", "")
        """Key and state of the set that the card is of."""

    def compose(self) -> ComposeResult:
        """Sets, then one of them."""
        yield self._rows
        yield self._card

    def show(self, update: Update) -> None:
        """Sets that changed, or all of them."""
        self._cells = update.snapshot.outlook.cells
        self._tasks.take(update.snapshot.rows)
        if update.changed is None:
            self._held = {row.key: row for row in update.snapshot.rows if _is_set(row)}
            self._rows.replace(self._held.values())
        else:
            changed = {key: row for key, row in update.changed.items() if _is_set(row)}
            self._held.update(changed)
            self._rows.change(changed.values())
        if self._wanted:
            self.about(self._wanted)
        self._describe(self._rows.cursor_key)

    def about(self, key: str) -> None:
        """The set that a task makes, or works on."""
        row = self._tasks.get(key)
        if row is None:
            self._wanted = key
            return
        self._wanted = ""
        found = next((held for held in self._held.values() if _of_set(held) == _of_set(row)), None)
        if found is None:
            self.notify(f"{row.stage} {key[:12]} has no condensed set of its own", markup=False)
            return
        self._rows.reveal(found.key)

    @property
    def grid(self) -> Grid[Any]:
        """The sets."""
        return self._rows

    @property
    def keep(self) -> Any:
        """What went wrong."""
        return lambda row: row.state in BAD

    @on(Grid.Pointed)
    def describe(self, message: Grid.Pointed) -> None:
        """The set under the cursor."""
        self._describe(message.key)

    @on(Grid.Picked)
    def read_on(self, message: Grid.Picked) -> None:
        """Into the card, to scroll it; tab or a click leads back."""
        del message
        self.screen.set_focus(self._card)

    def action_pictures(self) -> None:
        """To the pictures of the set, and back to what is said of it."""
        self._card.action_pictures()

    def _describe(self, key: str | None) -> None:
        row = self._held.get(key or "")
        wanted = ("", "") if row is None else (row.key, row.state)
        if wanted == self._shown:
            return
        self._shown = wanted
        layout = self.setting.layout
        if row is None or layout is None:
            self._card.set_card(None, "" if row is None else "no store to read it from")
            return
        self._card.set_card(None, "reading ...")
        begin(self, partial(self._read, layout, row), "card", exclusive=True)

    async def _read(self, layout: Layout, row: Row) -> None:
        await asyncio.sleep(_READ_AFTER_S)  # a cursor that only passes by reads nothing
        cells = self._cells
        try:
            card = await beside(lambda: set_card.read(layout, row.key, row.label, cells))
        except (CondhpcError, OSError) as error:
            self._card.set_card(None, str(error))
            return
        if self._shown[0] == row.key:
            self._card.set_card(card)

    @on(Card.Drawn)
    def draw(self, message: Card.Drawn) -> None:
        """Pictures of the card's set, at its width."""
        if message.file == self._card.file:  # else it is of a card that was shown before
            begin(self, partial(self._draw, message.file, message.columns), "card", exclusive=True)

    async def _draw(self, file: Path, columns: int) -> None:
        if self._card.picture:
            await asyncio.sleep(_READ_AFTER_S)  # a screen that is pulled to another size draws once
        try:
            found = await beside(lambda: _begun(set_pictures.read(file, columns)))
        except (CondhpcError, OSError) as error:
            found = Pictures(note=str(error))
        if file == self._card.file:
            self._card.set_pictures(found)


def _is_set(row: Row) -> bool:
    return row.stage == "condense" and row.label.shard is None


def _of_set(row: Row) -> tuple[object, ...]:
    """What tells a set from another; of an evaluation, its set's."""
    label = row.label
    return label.dataset, label.condenser, label.ipc, label.set_seed


_SHAPE: Shape[Row] = Shape(
    columns=(
        Column("state", lambda r: r.state, 11, order=lambda r: STATES.index(r.state)),
        Column("dataset", lambda r: r.label.dataset or "", 12),
        Column("condenser", lambda r: r.label.condenser or "", 16, grow=1),
        Column("ipc", lambda r: "" if r.label.ipc is None else str(r.label.ipc), 5, right=True,
               order=lambda r: r.label.ipc or 0),
        Column("seed", lambda r: "" if r.label.set_seed is None else str(r.label.set_seed), 5, right=True,
               order=lambda r: -1 if r.label.set_seed is None else r.label.set_seed),
        Column("detail", lambda r: r.detail, 12, grow=2, from_width=70),
    ),
    key=attrgetter("key"),
    text=lambda r: " ".join((r.state, label_text(r.label), r.key, r.detail)),
    tone=lambda r: TONE_OF[r.state],
)  # fmt: skip
