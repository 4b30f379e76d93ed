"""Condensed sets of a run: what each is, and pictures of it."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from condhpc import set_card
from condhpc.errors import CondhpcError
from condhpc.findings import Row
from condhpc.layout import Layout
from condhpc.log_view import label_text
from condhpc.outlook import CellResult
from condhpc.set_pictures import Drawing, Pictures
from condhpc.task_state import BAD, STATES
from condhpc.tui.beside import begin, beside
from condhpc.tui.card import Card, begun
from condhpc.tui.grid import Grid
from condhpc.tui.table import Column, Shape
from condhpc.tui.tones import TONE_OF
from condhpc.tui.view import Known, Setting, Update, View

_READ_AFTER_S = 0.2


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
        self._figures: list[tuple[str, str]] = []
        """What was measured of it."""
        self._drawing: Drawing | None = None
        self._drawn: Path | None = None
        """Of which pictures were asked for last."""

    def compose(self) -> ComposeResult:
        """Sets, then one of them."""
        yield self._rows
        yield self._card

    def on_unmount(self) -> None:
        """No process outlives the screen."""
        if self._drawing is not None:
            self._drawing.end()

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
        row, layout = self._held.get(key or ""), self.setting.layout
        wanted = ("", "") if row is None else (row.key, row.state)
        figures = [] if row is None else set_card.measured(row.label, self._cells)
        if wanted == self._shown:
            if figures != self._figures and row is not None and layout is not None:
                begin(self, partial(self._renew, layout, row, wanted), "facts", exclusive=True)
            self._figures = figures
            return
        self._shown, self._figures = wanted, figures
        if row is None or layout is None:
            self._card.set_card(None, "" if row is None else "no store to read it from")
            return
        self._card.set_card(None, "reading ...")
        begin(self, partial(self._read, layout, row), "card", exclusive=True)

    async def _renew(self, layout: Layout, row: Row, wanted: tuple[str, str]) -> None:
        """Other figures of the same set; its pictures stay."""
        await asyncio.sleep(_READ_AFTER_S)
        cells = self._cells
        with contextlib.suppress(CondhpcError, OSError):  # what is shown stays
            card = await beside(lambda: set_card.read(layout, row.key, row.label, cells))
            if self._shown == wanted:
                self._card.renew(card)

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
        before, self._drawn = self._drawn, file
        if before == file:
            await asyncio.sleep(_READ_AFTER_S)  # a screen that is pulled to another size draws once
        drawing = self._drawing = Drawing(file, columns)
        try:
            found = await beside(lambda: begun(drawing.read()))
        except (CondhpcError, OSError) as error:
            found = Pictures(note=str(error))
        finally:
            drawing.end()  # another width or set is wanted: one process at a time
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
