"""The grid, in an app of its own."""

from __future__ import annotations

import dataclasses

import pytest
from made_shots import screen, until
from textual.app import App, ComposeResult
from textual.geometry import Region

from condhpc.tui import grid, table
from condhpc.tui.grid import Grid
from condhpc.tui.table import PIECE, Column, Shape


@dataclasses.dataclass(frozen=True)
class Item:
    """A row."""

    name: str
    shelf: str = "x"
    size: int = 0


SHAPE = Shape[Item](
    columns=(
        Column("name", lambda item: item.name, 6, grow=1, group=lambda items: f"shelf {items[0].shelf}"),
        Column("size", lambda item: str(item.size), 5, right=True, order=lambda item: item.size, from_width=30),
    ),
    key=lambda item: item.name,
    text=lambda item: f"{item.name} {item.shelf}",
)


class Shelf(App[None]):
    """One grid, and what it said."""

    CSS = "Grid { height: 1fr; }"

    def __init__(self, *items: Item) -> None:
        super().__init__()
        self.grid = Grid(SHAPE)
        self.items = items
        self.said: list[tuple[str, str | None]] = []
        self.painted: list[Region] = []

    def compose(self) -> ComposeResult:
        """It."""
        yield self.grid

    def on_mount(self) -> None:
        """Fill it."""
        self.grid.replace(self.items)
        self.grid.focus()

    def on_grid_pointed(self, message: Grid.Pointed) -> None:
        """Note."""
        self.said.append(("pointed", message.key))

    def on_grid_picked(self, message: Grid.Picked) -> None:
        """Note."""
        self.said.append(("picked", message.key))


def lines(app: Shelf) -> list[str]:
    """What is painted, without the space to the right."""
    return [line.rstrip() for line in screen(app)]


def items(count: int) -> list[Item]:
    """So many."""
    return [Item(f"i{i:05}", size=-i) for i in range(count)]


async def test_only_lines_that_changed_are_painted() -> None:
    """One row of many changes: one line is painted; one that is out of sight: none."""
    app = Shelf(*items(100))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        app.grid.refresh = lambda *regions, **_: app.painted.extend(regions) or app.grid  # type: ignore[assignment,func-returns-value]
        app.grid.change([Item("i00050", size=7)])
        assert app.painted == []
        app.grid.change([Item("i00003", size=7)])
        assert app.painted == [Region(0, 4, app.grid.size.width, 1)]


async def test_the_cursor_stays_on_its_row_and_in_sight() -> None:
    """Rows that come above push it down; the line under the cursor is in sight after each key."""
    app = Shelf(*items(100))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("G")
        assert app.grid.cursor_key == "i00099"
        assert lines(app)[-1].startswith("    i00099")
        await pilot.press("pageup", "k")
        assert app.grid.cursor_key == "i00090"
        app.grid.replace([Item("new"), *items(100)])
        assert app.grid.cursor_key == "i00090"
        await pilot.press("g")
        assert app.grid.cursor_key == "new"
        app.grid.replace(items(3))
        assert app.grid.cursor_key == "i00000"
        app.grid.replace([])
        assert app.grid.cursor_key is None
        await pilot.press("j", "space", "enter", "x", "right", "A")
        assert app.grid.selected == []


async def test_the_cursor_is_in_sight_whatever_comes_or_goes_above_it() -> None:
    """As a refresh brings rows and a filter takes them; who scrolled away to read is left where he is."""
    app = Shelf(*items(100))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("j", "j")
        app.grid.replace([*(Item(f"new {i}") for i in range(30)), *items(100)])
        await pilot.pause()
        assert any(line.startswith("    i00002") for line in lines(app))
        app.grid.where("i000")
        await pilot.pause()
        assert any(line.startswith("    i00002") for line in lines(app))
        app.grid.scroll_to(y=50, animate=False, force=True, immediate=True)
        app.grid.replace(items(100))
        await pilot.pause()
        assert lines(app)[1].startswith("    i00050")
        assert app.grid.cursor_key == "i00002"


@pytest.mark.parametrize("count", [100, PIECE + 1])
async def test_another_order_shows_its_first_line(count: int) -> None:
    """With the cursor on it: what an action concerns is never out of sight. Later changes leave it there."""
    app = Shelf(*items(count))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("j", "j", "pagedown")
        last = items(count)[-1]
        app.grid.sort("size")
        await until(pilot, lambda: app.grid.cursor_key == last.name)
        assert lines(app)[1].startswith(f"    {last.name}")
        await pilot.press("j")
        app.grid.replace(items(count))
        await until(pilot, lambda: app.grid._arranging is None or app.grid._arranging.is_finished)
        assert app.grid.cursor_key == items(count)[-2].name


async def test_many_rows_are_taken_in_between_keys() -> None:
    """What is sought meanwhile is found when they are there; a row that changed meanwhile is the changed one."""
    app = Shelf(*items(3))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("space")
        app.grid.replace([Item("new"), *items(5 * PIECE)])
        app.grid.reveal("i09000")
        assert app.grid.table.count == 5 * PIECE + 1
        await until(pilot, lambda: app.grid.cursor_key == "i09000")
        assert any(line.startswith("    i09000") for line in lines(app))
        assert app.grid.selected == ["i00000"]
        app.grid.replace(items(4 * PIECE))
        app.grid.change([Item("i00001", size=77)])
        await until(pilot, lambda: len(app.grid.table.shown) == 4 * PIECE)
        assert app.grid.table.rows["i00001"].size == 77
        assert list(app.grid.table.rows) == app.grid.table.shown


async def test_marks_are_shown_and_chosen_before_the_cursor() -> None:
    """Without marks the row under the cursor is chosen; marks stay on their rows through changes."""
    app = Shelf(*items(5))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("j")
        assert app.grid.selected == ["i00001"]
        await pilot.press("space", "j", "space")
        assert app.grid.selected == ["i00001", "i00003"]
        assert [line[0] for line in lines(app)[1:6]] == [" ", "*", " ", "*", " "]
        await pilot.press("U", "g", "J", "J")
        assert app.grid.selected == ["i00000", "i00001", "i00002"]
        app.grid.replace(items(2))
        assert app.grid.selected == ["i00000", "i00001"]


async def test_marks_that_a_filter_hides_are_kept_and_not_chosen() -> None:
    """They come back with their rows; what hides is said; where none is in sight, the cursor's row is chosen."""
    app = Shelf(*items(5))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("space", "space")
        app.grid.where("i0000[1-4]")
        assert app.grid.selected == ["i00001"]
        assert app.grid.marks.hidden_text() == "2 marked, 1 hidden by the filter: left as it is"
        app.grid.where("i00003")
        assert app.grid.selected == app.grid.pointed == ["i00003"]
        assert app.grid.marks.hidden_text() == "2 marked, 2 hidden by the filter: left as they are"
        app.grid.where("")
        assert app.grid.selected == ["i00000", "i00001"]
        assert app.grid.pointed == ["i00003"]
        assert app.grid.marks.hidden_text() == ""


async def test_the_sign_of_a_group_is_about_the_rows_that_it_shows() -> None:
    """A mark that the filter hides is no mark on what is left of its group."""
    app = Shelf(Item("a", "x"), Item("b", "x"), Item("c", "x"))
    async with app.run_test(size=(40, 10)) as pilot:
        app.grid.group(lambda item: item.shelf)
        await pilot.press("right", "j", "space", "space")
        assert lines(app)[1][0] == "+"
        for needle, sign in (("!a", "+"), ("c", " "), ("!c", "*")):
            app.grid.where(needle)
            await pilot.pause()
            assert lines(app)[1][0] == sign


async def test_groups_open_close_and_are_marked_as_a_whole() -> None:
    """A group stands for its rows; in part marked it says so; a row closes its group and gives it the cursor."""
    app = Shelf(Item("a", "x"), Item("b", "y"), Item("c", "x"))
    async with app.run_test(size=(40, 10)) as pilot:
        app.grid.group(lambda item: item.shelf)
        await pilot.pause()
        assert [line.split() for line in lines(app)[1:4]] == [["▸", "shelf", "x"], ["▸", "shelf", "y"], []]
        assert app.grid.selected == ["a", "c"]
        await pilot.press("right", "j", "space")
        assert [line[:9] for line in lines(app)[1:4]] == ["+▾  shelf", "*   a    ", "    c    "]
        await pilot.press("left")
        assert app.grid.table.is_group(app.grid.cursor_key or "")
        await pilot.press("space")
        assert app.grid.selected == ["a", "c"]
        assert lines(app)[1].startswith("*▸")
        await pilot.press("U", "g", "enter", "j", "enter")
        await pilot.pause()
        assert app.said[-1] == ("picked", "a")
        app.grid.reveal("b")
        assert app.grid.cursor_key == "b"


async def test_the_mouse_sorts_points_and_opens() -> None:
    """A click on a title sorts upwards, the next downwards, the third not at all; arrows say so."""
    app = Shelf(*items(3))
    async with app.run_test(size=(40, 10)) as pilot:
        size = (37, 0)
        await pilot.click(Grid, offset=size)
        assert (app.grid.table.shown[0], "▲size" in lines(app)[0]) == ("i00002", True)
        await pilot.click(Grid, offset=size)
        assert (app.grid.table.shown[0], "▼size" in lines(app)[0]) == ("i00000", True)
        await pilot.click(Grid, offset=size)
        assert app.grid.table.by is None
        await pilot.click(Grid, offset=(6, 3))
        assert app.grid.cursor_key == "i00002"
        await pilot.click(Grid, offset=(6, 2), times=2)
        await pilot.pause()
        assert ("picked", "i00001") in app.said
        await pilot.click(Grid, offset=(6, 8))
        assert app.grid.cursor_key == "i00001"


async def test_many_rows_are_arranged_in_pieces_and_the_last_question_wins() -> None:
    """Filters that follow each other quickly end in the last one's rows; keys are answered in between."""
    app = Shelf(*items(3 * PIECE))
    async with app.run_test(size=(40, 10)) as pilot:
        await until(pilot, lambda: len(app.grid.table.shown) == 3 * PIECE)
        for needle in ("i", "i0", "i00", "i0001"):
            app.grid.where(needle)
        app.grid.change([Item("i00012", size=3)])
        await until(pilot, lambda: app.grid.table.shown == [f"i0001{i}" for i in range(10)])
        app.grid.sort("size")
        await until(pilot, lambda: app.grid.table.shown[0] == "i00019")
        assert app.grid.table.shown[-1] == "i00012"


async def test_wide_characters_keep_their_columns() -> None:
    """Characters that take two cells, or none, do not move what stands to their right."""
    app = Shelf(Item("漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字"), Item("e\u0301"), Item("plain"))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        strips = [app.grid.render_line(y) for y in range(4)]
        assert {strip.cell_length for strip in strips} == {40}
        assert {strip.text.rstrip()[-1] for strip in strips[1:]} == {"0"}
        assert "…" in strips[1].text


async def test_a_slow_filter_over_few_rows_leaves_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment it goes on in pieces; its lines come at its end, and are those of a fast one."""
    app = Shelf(*items(40))
    async with app.run_test(size=(30, 50)) as pilot:
        await until(pilot, lambda: len(app.grid.table.shown) == 40)
        monkeypatch.setattr(table, "_PIECE_S", -1.0)
        monkeypatch.setattr(grid, "_AT_ONCE_S", -1.0)
        app.grid.where("i000[0-1]")
        assert len(app.grid.table.shown) == 40
        await until(pilot, lambda: len(app.grid.table.shown) == 20)
        assert lines(app)[1].split()[0] == "i00000"
