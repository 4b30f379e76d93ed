"""The watch app as a whole, driven through its keys."""

from __future__ import annotations

import os
import signal
import time

import pytest
from made_shots import EVIL, below, head, keys, row, screen, shot, tasks, type_fast, until, watching
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input

from condhpc.errors import SchedulerError
from condhpc.tui import app as app_module
from condhpc.tui.app import Watch
from condhpc.tui.help import Help, Menu


async def to_tasks(pilot: Pilot[None], app: Watch, count: int) -> None:
    """Bring the tasks to the front and wait until so many are shown."""
    await pilot.press("2")
    await until(pilot, lambda: len(keys(app)) == count)


async def test_rows_counts_and_age_are_shown() -> None:
    """Header with run, state, counts and age of the data; one line per task."""
    app, _ = watching(shot(row("a" * 32, "recorded"), row("b" * 32, "failed", "boom"), taken_s=time.time() - 90))
    async with app.run_test(size=(120, 24)) as pilot:
        await to_tasks(pilot, app, 2)
        assert "made-20260101T000000Z: failed · 1 recorded, 1 failed" in head(app)
        assert "data 2 min old" in head(app)
        await pilot.press("x")
        await pilot.pause()
        lines = screen(app)
        assert any(line.split()[0] == "recorded" for line in lines)
        assert any("failed" in line and "boom" in line for line in lines)


async def test_number_keys_tab_and_clicks_change_the_view() -> None:
    """The names of the views say which is in front; each way to change them works."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "made" in head(app))
        assert "[1 Overview]" in "\n".join(screen(app))
        await pilot.press("2")
        assert "[2 Tasks]" in "\n".join(screen(app))
        await pilot.press("shift+tab")
        assert app.front.TITLE == "Overview"
        await pilot.press("tab")
        assert app.front.TITLE == "Tasks"
        await pilot.click("#names", offset=(4, 0))
        assert app.front.TITLE == "Overview"


async def test_a_view_in_the_back_misses_nothing() -> None:
    """Changes that came while another view was in front are shown when its turn comes, those of several looks too."""
    first = [row(f"{i:032x}") for i in range(3)]
    app, source = watching(shot(*first), poll_s=0.01)
    async with app.run_test(size=(100, 24)) as pilot:
        await to_tasks(pilot, app, 3)
        await pilot.press("1")
        second = [row(first[0].key, "failed", "one"), first[1], first[2]]
        source.now = shot(*second)
        await until(pilot, lambda: "1 failed" in head(app))
        source.now = shot(second[0], first[1], row(first[2].key, "lost", "two"))
        await until(pilot, lambda: "1 lost" in head(app))
        await pilot.press("2", "x")
        table = tasks(app)._rows.table
        assert [table.rows[key].detail for key in keys(app)] == ["one", "", "two"]


@pytest.mark.parametrize("evil", EVIL)
async def test_evil_text_is_shown_and_never_obeyed(evil: str) -> None:
    """Markup, escape sequences and control bytes in labels, details and problems neither crash nor act."""
    bad = row("a" * 32, "failed", evil, evil, host=evil, values={evil: 1.0})
    app, _ = watching(shot(bad, problems=(evil,)))
    async with app.run_test(size=(160, 24)) as pilot:
        await to_tasks(pilot, app, 1)
        await pilot.press("x", "j")
        await pilot.pause()
        painted = "\n".join([*screen(app), below(app)])
        assert app.is_running
        assert not {"\x1b", "\r", "\t", "\u202e"} & set(painted)
        if evil.startswith("["):
            assert evil in painted


async def test_failures_only_and_filter() -> None:
    """`F` keeps what went wrong, `/` what matches, `!` the inverse; escape shows all again."""
    rows = (row("a" * 32, "recorded"), row("b" * 32, "failed", "boom"), row("c" * 32, "lost", condenser="herding"))
    app, _ = watching(shot(*rows))
    async with app.run_test(size=(120, 24)) as pilot:
        await to_tasks(pilot, app, 3)
        await pilot.press("F")
        assert keys(app) == ["b" * 32, "c" * 32]
        assert "failures only" in "\n".join(screen(app))
        await pilot.press("slash", *"HERD", "enter")
        assert keys(app) == ["c" * 32]
        needle = app.query_one("#filter", Input)
        assert needle.display  # it says why rows are missing
        assert not needle.has_focus
        await pilot.press("escape")
        assert len(keys(app)) == 3
        await pilot.press("slash", *"!herd", "enter")
        assert keys(app) == ["a" * 32, "b" * 32]
        await pilot.press("escape", "slash", *"rand.*(boom|x)", "enter")
        assert keys(app) == ["b" * 32]
        await pilot.press("escape", "slash", *"nothing has this", "enter")
        assert keys(app) == []
        assert "no task to show" in "\n".join(screen(app))


async def test_what_is_typed_fast_after_slash_is_text() -> None:
    """A slow line delivers many keys at once: none of them acts on the way into the line."""
    app, _ = watching(shot(row("a" * 32, "failed", "boom")))
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: app._shot is not None)
        type_fast(app, "2/F/6q")
        await until(pilot, lambda: app.query_one("#filter", Input).value == "F/6q")
        assert app.front.id == "tasks"
        assert "failures only" not in "\n".join(screen(app))


@pytest.mark.parametrize(("end", "left"), [("\r", ["b"]), ("\x1b", ["b", "c"])])
async def test_what_is_typed_fast_after_the_filter_acts(end: str, left: list[str]) -> None:
    """Enter keeps what was typed before it, escape drops it; the key after either is no text."""
    rows = (row("a" * 32, "recorded"), row("b" * 32, "failed", "boom"), row("c" * 32, "lost", condenser="herding"))
    app, _ = watching(shot(*rows))
    async with app.run_test(size=(120, 24)) as pilot:
        await to_tasks(pilot, app, 3)
        type_fast(app, f"/random{end}F")
        await until(pilot, lambda: keys(app) == [key * 32 for key in left])
        await pilot.pause()
        needle = app.query_one("#filter", Input)
        assert (needle.value, needle.display) == (("random", True) if end == "\r" else ("", False))
        assert "failures only" in "\n".join(screen(app))


async def test_cursor_stays_on_its_task() -> None:
    """A refresh that inserts rows above keeps the cursor's task, and its detail follows its state."""
    app, source = watching(shot(row("a" * 32), row("b" * 32)), poll_s=0.01)
    async with app.run_test(size=(120, 24)) as pilot:
        await to_tasks(pilot, app, 2)
        await pilot.press("x", "j", "j")
        await until(pilot, lambda: "b" * 32 in below(app))
        source.now = shot(row("z" * 32), row("a" * 32), row("b" * 32, "failed", "now it failed"))
        await until(pilot, lambda: "now it failed" in below(app))
        assert "b" * 32 in below(app)


async def test_refresh_by_hand_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two presses of `R` in a row ask once; the snapshot is made from everything anew."""
    app, source = watching(shot(row("a" * 32)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: source.looks == 1)
        await pilot.press("R", "R")
        await until(pilot, lambda: source.looks == 2)
        await pilot.pause(0.05)
        assert (source.looks, source.forgets) == (2, 1)
        monkeypatch.setattr(app_module, "REFRESH_EVERY_S", 0.0)
        await pilot.press("R")
        await until(pilot, lambda: source.looks == 3)


async def test_errors_that_pass_are_shown_and_forgotten() -> None:
    """A failing look is a line in the head; the next good one takes it away."""
    app, source = watching(SchedulerError("squeue: [no] answer"), poll_s=0.01)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "squeue: [no] answer" in head(app))
        source.now = shot(row("a" * 32))
        await until(pilot, lambda: "answer" not in head(app))


async def test_a_bug_ends_the_app_with_its_error() -> None:
    """What is no CondhpcError is never hidden."""
    app, _ = watching(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: not app.is_running)


async def test_old_queue_is_said_to_be_old() -> None:
    """When squeue fails, the age is that of its last answer and the error stands below."""
    old = shot(row("a" * 32), problems=("the queue could not be asked: down",), queue_error="down")
    app, _ = watching(old)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "queue unknown" in head(app))
        assert "could not be asked" in head(app)


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (200, 60)])
async def test_any_terminal_size_works(size: tuple[int, int]) -> None:
    """Small, normal, large, and a storm of resizes between them; `q` quits."""
    app, _ = watching(shot(*(row(f"{i:032x}", "running", since_s=1.0) for i in range(50))))
    async with app.run_test(size=size) as pilot:
        await to_tasks(pilot, app, 50)
        assert any("running" in line for line in screen(app))
        for width, height in ((60, 15), (1, 1), (40, 10), (300, 2), (20, 100)):
            await pilot.resize_terminal(width, height)
            await pilot.press("pagedown", "G", "pageup", "k", "x", "1", "2")
        await pilot.press("q")
    assert app.return_code == 0


async def test_empty_run_says_so() -> None:
    """No plan, no tasks: words instead of an empty screen."""
    app, _ = watching(shot(problems=("it has no plan",)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "no tasks" in head(app))
        await pilot.press("2")
        await pilot.pause()
        assert "no task to show" in "\n".join(screen(app))


async def test_help_names_the_keys_that_work_here() -> None:
    """`?` lists what bindings say, those of the view in front first; any of its keys leaves it."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(80, 50)) as pilot:
        await to_tasks(pilot, app, 1)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        text = "\n".join(screen(app))
        for words in ("Group by", "Failures only", "Mark downwards", "Refresh", "Quit"):
            assert words in text
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, Help)


@pytest.mark.parametrize("width", [80, 48])
async def test_help_and_the_way_out_are_in_sight(width: int) -> None:
    """In each view, however many keys work there; a click on them works, too."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(width, 24)) as pilot:
        await to_tasks(pilot, app, 1)
        for place in "1234567":
            await pilot.press(place)
            await until(pilot, lambda: screen(app)[-1].rstrip().endswith("? Help  q Quit"))
        await pilot.click(offset=(width - 12, 23))
        await until(pilot, lambda: isinstance(app.screen, Help))


async def test_sorting_by_a_menu() -> None:
    """`s` asks by which column, `S` turns the order round."""
    rows = (row("a" * 32, "recorded"), row("b" * 32, "failed"), row("c" * 32, "running"))
    app, _ = watching(shot(*rows))
    async with app.run_test(size=(100, 24)) as pilot:
        await to_tasks(pilot, app, 3)
        await pilot.press("b", "b", "b", "s")
        await pilot.pause()
        assert isinstance(app.screen, Menu)
        await pilot.press("j", "enter")
        await until(pilot, lambda: keys(app) == ["b" * 32, "c" * 32, "a" * 32])
        await pilot.press("S")
        assert keys(app) == ["a" * 32, "c" * 32, "b" * 32]


async def test_keys_of_the_users_own() -> None:
    """A key from the user's file works instead of the one that the app has, and the help says so."""
    app, _ = watching(shot(row("a" * 32)), keys={"app.quit": "ctrl+x"})
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "made" in head(app))
        await pilot.press("q")
        assert app.is_running
        (shown,) = [shown for _, shown, does in app.keys_here() if does == "Quit"]
        assert "^x" in shown.split()
        assert "q" not in shown.split()
        await pilot.press("ctrl+x")
    assert app.return_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_signals_end_it_properly(number: signal.Signals) -> None:
    """SIGTERM, and the end of the connection, take the screen down as `q` does; the exit code tells."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "made" in head(app))
        os.kill(os.getpid(), number)
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 128 + number


async def test_the_palette_has_what_has_a_key() -> None:
    """Every action that works here once, with its key; choosing one does it."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(80, 24)) as pilot:
        await to_tasks(pilot, app, 1)
        found = [(command.title, command.help) for command in app.get_system_commands(app.screen)]
        assert len(set(found)) == len(found)
        assert [title for title, _ in found].count("Down") == 1
        assert {("Group by", "b"), ("Failures only", "F"), ("Down", "↓"), ("Theme", "Other colours")} <= set(found)
        await pilot.press("ctrl+p", *"failures only", "enter")
        await until(pilot, lambda: keys(app) == [])


async def test_the_palette_offers_what_works_in_the_view_below_it() -> None:
    """With itself in front it lists what it does without; keys typed into it are text all the same."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(80, 24)) as pilot:
        await to_tasks(pilot, app, 1)
        before = {command.title for command in app.get_system_commands(app.screen)}
        base = app.screen
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette))
        found = {command.title for command in app.get_system_commands(base)}
        assert found == before
        assert {"Filter", "All", "Next view", "Results"} <= found
        await pilot.press(*"/1", "tab")
        assert app.front.TITLE == "Tasks"
        assert not app._needle.display
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is base)
        await pilot.press("ctrl+p", *"filter")
        await until(pilot, lambda: any("Filter" in line for line in screen(app)))
        await pilot.press("enter")
        await until(pilot, lambda: app.focused is app._needle)


async def test_who_comes_back_wakes_it() -> None:
    """The head says that nobody looks any more; any key makes it look again."""
    app, source = watching(shot(row("a" * 32)), poll_s=0.01)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: source.looks > 0)
        app._poller._stirred_s = float("-inf")
        await until(pilot, lambda: app._poller.is_asleep)
        app._show_head()
        assert "asleep until a key is pressed" in head(app)
        source.now = shot(row("a" * 32, "recorded"))
        await pilot.press("j")
        await until(pilot, lambda: "done" in head(app))
        assert "asleep" not in head(app)


async def test_narrow_screens_have_numbers_for_views_in_the_back() -> None:
    """The name of the view in front is there at 40 columns; a click on a number goes to its view."""
    app, _ = watching(shot(row("a" * 32)))
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: any(" 1 [2 Tasks]" in line for line in screen(app)))
        await pilot.click("#names", offset=(1, 0))
        assert app.front.TITLE == "Overview"
        await pilot.resize_terminal(120, 10)
        await until(pilot, lambda: any("[1 Overview] 2 Tasks" in line for line in screen(app)))


@pytest.mark.parametrize("width", [80, 70, 40])
async def test_that_rows_are_left_out_is_said_in_full(width: int) -> None:
    """Beside the names of the views, which get shorter for it."""
    app, _ = watching(shot(row("a" * 32, "failed")))
    async with app.run_test(size=(width, 24)) as pilot:
        await to_tasks(pilot, app, 1)
        await pilot.press("F")
        await until(pilot, lambda: any("[2 Tasks]" in line and "failures only" in line for line in screen(app)))


async def test_a_costly_filter_is_said_to_be_text() -> None:
    """Once, as soon as it is one; the screen goes on."""
    app, _ = watching(shot(row("a" * 32, detail="a" * 300)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press("2", "slash", *"(a+)+b.*")
        await until(pilot, lambda: any("taken as text" in notice.message for notice in app._notifications))
        assert len(app._notifications) == 1
