"""The watch app, driven through its keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from condhpc import findings
from condhpc.errors import SchedulerError
from condhpc.findings import Row, Snapshot
from condhpc.planned import Label
from condhpc.task_state import State
from condhpc.tui import app as app_module
from condhpc.tui.app import Poller, Trouble, Watch
from condhpc.tui.task_table import TaskTable

EVIL = ("[/x]", "[@click=app.quit]x[/]", "\x1b[31mred\x1b[0m", "a\nb\r\tc", "\u202eright to left", "[bold", "\udc80")


def row(key: str, state: State = "queued", detail: str = "", condenser: str = "random", **fields: object) -> Row:
    """A row of a table."""
    label = Label(dataset="digits", condenser=condenser, ipc=1)
    return Row(key=key, stage="condense", label=label, state=state, detail=detail, **fields)  # type: ignore[arg-type]


def shot(*rows: Row, problems: tuple[str, ...] = (), queue_error: str = "", taken_s: float = 0.0) -> Snapshot:
    """A snapshot of these rows."""
    return Snapshot(
        run="made-20260101T000000Z",
        state=findings.summary(rows),
        taken_s=taken_s or time.time(),
        queue_s=None,
        queue_error=queue_error,
        counts=findings.counted(rows),
        rows=list(rows),
        problems=list(problems),
    )


class Source:
    """Snapshots, or errors, that a test decides."""

    def __init__(self, now: Snapshot | Exception) -> None:
        self.now = now
        self.looks = 0
        self.forgets = 0

    def snapshot(self) -> Snapshot:
        """What the test put here."""
        self.looks += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    def forget(self) -> None:
        """Count."""
        self.forgets += 1


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Let the app go on until something holds; fails after five seconds."""
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await pilot.pause(0.01)


def head(app: Watch) -> str:
    """Text of the header."""
    return str(app.query_one("#head", Static).content)


def keys(app: Watch) -> list[str]:
    """Keys of the rows that pass the filters."""
    return [held.key for held in app.query_one(TaskTable).shown]


def screen(app: Watch) -> list[str]:
    """Lines of the table as they are painted."""
    table = app.query_one(TaskTable)
    return [table.render_line(y).text for y in range(table.size.height)]


async def test_rows_counts_and_age_are_shown() -> None:
    """Header with run, state, counts and age of the data; one line per task."""
    source = Source(shot(row("a" * 32, "recorded"), row("b" * 32, "failed", "boom"), taken_s=time.time() - 90))
    app = Watch(source, poll_s=60)
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: len(keys(app)) == 2)
        assert "made-20260101T000000Z: failed · 1 recorded, 1 failed" in head(app)
        assert "data 2 min old" in head(app)
        lines = screen(app)
        assert lines[0].startswith("state")
        assert lines[1].startswith("recorded")
        assert "boom" in lines[2]


async def test_running_tasks_tell_how_far_they_are() -> None:
    """Steps, time left, pace and loss, in a column as wide as they need; others find their detail beside it."""
    values = {"loss": 1.25, "images_s": 21400.0, "eta_s": 720.0}
    running = row("a" * 32, "running", step=3700, total=4000, values=values)
    app = Watch(Source(shot(running, row("b" * 32, "failed", "boom"))), poll_s=60)
    async with app.run_test(size=(140, 24)) as pilot:
        await until(pilot, lambda: len(keys(app)) == 2)
        await pilot.pause()
        lines = screen(app)
        assert "3700/4000, 12 min left, 21,400 images/s, loss 1.25" in lines[1]
        assert "boom" in lines[2]


@pytest.mark.parametrize("evil", EVIL)
async def test_evil_text_is_shown_and_never_obeyed(evil: str) -> None:
    """Markup, escape sequences and control bytes in labels, details and problems neither crash nor act."""
    source = Source(shot(row("a" * 32, "failed", evil, evil, host=evil, values={evil: 1.0}), problems=(evil,)))
    app = Watch(source, poll_s=60)
    async with app.run_test(size=(160, 24)) as pilot:
        await until(pilot, lambda: len(keys(app)) == 1)
        await pilot.pause()
        painted = "\n".join([*screen(app), head(app).replace("\n", " "), str(app.query_one("#row", Static).content)])
        assert app.is_running
        assert not {"\x1b", "\r", "\t", "\u202e"} & set(painted)
        if evil.startswith("["):
            assert evil in painted


async def test_failures_only_and_filter() -> None:
    """`f` keeps what went wrong, `/` what contains a text; escape shows all again."""
    source = Source(
        shot(row("a" * 32, "recorded"), row("b" * 32, "failed", "boom"), row("c" * 32, "lost", condenser="herding"))
    )
    app = Watch(source, poll_s=60)
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: len(keys(app)) == 3)
        await pilot.press("f")
        assert keys(app) == ["b" * 32, "c" * 32]
        await pilot.press("slash", *"HERD", "enter")
        assert keys(app) == ["c" * 32]
        assert not app.query_one("#filter", Input).display
        await pilot.press("escape")
        assert len(keys(app)) == 3
        await pilot.press("slash", *"nothing has this", "enter")
        assert keys(app) == []
        assert "no task to show" in screen(app)[1]


async def test_cursor_stays_on_its_task() -> None:
    """A refresh that inserts rows above keeps the cursor's task, and its detail follows its state."""
    source = Source(shot(row("a" * 32), row("b" * 32)))
    app = Watch(source, poll_s=0.01)
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: len(keys(app)) == 2)
        await pilot.press("j")
        source.now = shot(row("z" * 32), row("a" * 32), row("b" * 32, "failed", "now it failed"))
        await until(pilot, lambda: "now it failed" in str(app.query_one("#row", Static).content))
        assert "b" * 32 in str(app.query_one("#row", Static).content)


async def test_long_tables_scroll_with_the_cursor() -> None:
    """The last of 10,000 rows is one key away, and only visible lines are painted."""
    source = Source(shot(*(row(f"{i:032x}") for i in range(10_000))))
    app = Watch(source, poll_s=60)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(keys(app)) == 10_000)
        await pilot.press("G")
        await pilot.pause()
        table = app.query_one(TaskTable)
        assert table.scroll_offset.y == 10_001 - table.size.height
        assert f"{9999:032x}" in str(app.query_one("#row", Static).content)
        await pilot.press("g")
        await pilot.pause()
        assert table.scroll_offset.y == 0


async def test_refresh_by_hand_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two presses of `r` in a row ask once; the snapshot is made from everything anew."""
    source = Source(shot(row("a" * 32)))
    app = Watch(source, poll_s=60)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: source.looks == 1)
        await pilot.press("r", "r")
        await until(pilot, lambda: source.looks == 2)
        await pilot.pause(0.05)
        assert (source.looks, source.forgets) == (2, 1)
        monkeypatch.setattr(app_module, "REFRESH_EVERY_S", 0.0)
        await pilot.press("r")
        await until(pilot, lambda: source.looks == 3)


async def test_errors_that_pass_are_shown_and_forgotten() -> None:
    """A failing look is a line in the header; the next good one takes it away."""
    source = Source(SchedulerError("squeue: [no] answer"))
    app = Watch(source, poll_s=0.01)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "squeue: [no] answer" in head(app))
        source.now = shot(row("a" * 32))
        await until(pilot, lambda: "answer" not in head(app))


async def test_a_bug_ends_the_app_with_its_error() -> None:
    """What is no CondhpcError is never hidden."""
    source = Source(ZeroDivisionError("a bug"))
    app = Watch(source, poll_s=60)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: not app.is_running)


async def test_old_queue_is_said_to_be_old() -> None:
    """When squeue fails, the age is that of its last answer and the error stands below."""
    old = shot(row("a" * 32), problems=("the queue could not be asked: down",), queue_error="down")
    app = Watch(Source(old), poll_s=60)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: "queue unknown" in head(app))
        assert "could not be asked" in head(app)


@pytest.mark.parametrize("size", [(80, 24), (20, 5), (200, 60)])
async def test_any_terminal_size_works(size: tuple[int, int]) -> None:
    """Small, normal, large, and a resize between them; `q` quits."""
    app = Watch(Source(shot(*(row(f"{i:032x}", "running", since_s=1.0) for i in range(50)))), poll_s=60)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: len(keys(app)) == 50)
        await pilot.resize_terminal(60, 15)
        await pilot.press("pagedown", "G", "pageup", "k")
        await pilot.press("q")
    assert app.return_code == 0


async def test_empty_run_says_so() -> None:
    """No plan, no tasks: words instead of an empty screen."""
    app = Watch(Source(shot(problems=("it has no plan",))), poll_s=60)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "no tasks" in head(app))
        assert "no task to show" in screen(app)[1]


def test_poller_slows_down_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause doubles with each equal snapshot up to ten times the first, and starts anew after a change."""
    source = Source(shot(row("a" * 32)))
    pauses: list[float] = []
    poller = Poller(source, lambda _: None, poll_s=30.0)

    class Woken(threading.Event):
        """Notes how long one would have waited."""

        def wait(self, timeout: float | None = None) -> bool:
            """Change the snapshot at the eighth look, end at the ninth."""
            pauses.append(timeout or 0.0)
            if len(pauses) == 7:
                source.now = shot(row("a" * 32, "recorded"))
            if len(pauses) == 8:
                poller.end()
            return True

    monkeypatch.setattr(poller, "_wake", Woken())
    poller.run()
    assert pauses == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0, 300.0, 30.0]


def test_poller_reports_errors_instead_of_dying() -> None:
    """An exception of any kind reaches the app as a message."""
    found: list[object] = []
    poller = Poller(Source(OSError("stale file handle")), lambda m: (found.append(m), poller.end()), poll_s=1.0)
    poller.run()
    (trouble,) = found
    assert isinstance(trouble, Trouble)
    assert str(trouble.error) == "stale file handle"
