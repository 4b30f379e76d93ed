"""Pictures of a set on its card: drawn for its width, and those of the set that is shown."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from made_shots import NOW_S, until, watching
from made_study import Study, study
from textual.pilot import Pilot

from condhpc import half_blocks, set_card
from condhpc.set_pictures import Drawing, Pictures
from condhpc.tui import set_view
from condhpc.tui.app import Watch
from condhpc.tui.card import Card
from condhpc.tui.set_view import Sets
from condhpc.tui.view import Update, View


@pytest.fixture
def made(tmp_path: Path) -> Study:
    """A study on disk."""
    return study(tmp_path)


def watch(made: Study) -> Watch:
    """An app on it."""
    app, _ = watching(made.shot, clock=lambda: NOW_S, folder=made.made.run, layout=made.made.layout)
    return app


def key_of(made: Study, condenser: str, ipc: int) -> str:
    """A set's."""
    labels = {(r.label.condenser, r.label.ipc): r.key for r in made.shot.rows if r.stage == "condense"}
    return labels[condenser, ipc]


async def shown(pilot: Pilot[None], app: Watch, key: str) -> Card:
    """The card of that set, with pictures."""
    await until(pilot, lambda: app.shot is not None)
    app.front.post_message(View.Opened("set", key))
    await until(pilot, lambda: bool(app.query(Card)) and bool(app.query_one(Card).picture))
    return app.query_one(Card)


async def test_another_width_has_other_pictures(made: Study) -> None:
    """As large as fits beside the facts, or below them on a narrow screen."""
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        card = await shown(pilot, app, key_of(made, "rded", 10))
        assert card.file is not None
        assert card.picture == half_blocks.drawn(card.file, card.size.width - 58).lines
        narrow = len(card.picture[0].held)
        await pilot.resize_terminal(160, 40)
        await until(pilot, lambda: len(card.picture[0].held) > narrow)
        assert card.picture == half_blocks.drawn(card.file, card.size.width - 58).lines
        assert card.facts[-1][1].startswith("pictures: ")
        await pilot.resize_terminal(80, 40)
        await until(pilot, lambda: card.picture == half_blocks.drawn(card.file or Path(), card.size.width).lines)


async def test_pictures_of_another_set_are_not_shown(made: Study) -> None:
    """What is asked for by a card that was shown before comes to nothing."""
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        card = await shown(pilot, app, key_of(made, "rded", 10))
        before, drawn = card.picture, app.workers
        app.query_one(Sets).draw(Card.Drawn(Path("another.h5"), 42))
        assert not [worker for worker in drawn if worker.group == "card" and not worker.is_finished]
        card.set_card(None, "nothing")
        assert (card.file, card.picture, card.facts) == (None, [], [("", "nothing")])
        assert before


async def test_a_file_that_cannot_be_drawn_is_told(made: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of pictures, below the facts."""
    key = key_of(made, "rded", 10)
    label = next(row.label for row in made.shot.rows if row.key == key)
    path = set_card.read(made.made.layout, key, label).file
    assert path is not None
    path.write_bytes(b"x" * path.stat().st_size)
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        app.front.post_message(View.Opened("set", key))
        await until(pilot, lambda: bool(app.query(Card)) and "cannot be read" in str(app.query_one(Card).facts[-1:]))
        card = app.query_one(Card)
        assert card.picture == []
        monkeypatch.setattr(Drawing, "read", lambda _: Pictures(note="\x1b[31mnone"))
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: card.facts[-1] == ("", "?[31mnone"))


async def test_new_figures_are_shown_beside_the_same_pictures(made: Study) -> None:
    """As soon as results come in; nothing is drawn again, and what else is told stays."""
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        card = await shown(pilot, app, key_of(made, "rded", 10))
        pictures, facts = card.picture, list(card.facts)
        cells = [
            msgspec.structs.replace(cell, mean_pct=99.0) if (cell.condenser, cell.ipc) == ("rded", 10) else cell
            for cell in made.shot.outlook.cells
        ]
        outlook = msgspec.structs.replace(made.shot.outlook, cells=cells)
        app.post_message(Update(msgspec.structs.replace(made.shot, outlook=outlook), {}))
        await until(pilot, lambda: any("99.00 % top-1" in value for _, value in card.facts))
        assert card.picture is pictures
        assert [fact for fact in card.facts if "top-1" not in fact[1]] == [f for f in facts if "top-1" not in f[1]]


class Stuck(Drawing):
    """Draws until it is ended."""

    now: list[Stuck]
    most: int

    def __init__(self, path: Path, columns: int) -> None:
        super().__init__(path, columns)
        self.columns, self.gone = columns, threading.Event()

    def read(self) -> Pictures:
        """Nothing."""
        Stuck.now.append(self)
        Stuck.most = max(Stuck.most, len(Stuck.now))
        self.gone.wait(10.0)
        return Pictures()

    def end(self) -> None:
        """As often as one likes."""
        self.gone.set()
        Stuck.now = [other for other in Stuck.now if other is not self]


async def test_one_process_draws_at_a_time_and_none_outlives_the_screen(
    made: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first one draws the screen is pulled to many sizes: only the last one is drawn, once."""
    Stuck.now, Stuck.most = [], 0
    monkeypatch.setattr(set_view, "Drawing", Stuck)
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        app.front.post_message(View.Opened("set", key_of(made, "rded", 10)))
        await until(pilot, lambda: len(Stuck.now) == 1)
        for columns in (110, 120, 130):
            await pilot.resize_terminal(columns, 40)
        await until(pilot, lambda: [held.columns for held in Stuck.now] == [130 - 58])
        assert Stuck.most == 1
    assert Stuck.now == []
