"""Snapshots, a source of them and an app's screen, as the tests of the watch app need them."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import App
from textual.events import Key
from textual.pilot import Pilot

from condhpc import findings
from condhpc.findings import Row, Snapshot
from condhpc.outlook import Outlook
from condhpc.planned import Label
from condhpc.task_state import State
from condhpc.tui.app import Watch
from condhpc.tui.line import Line
from condhpc.tui.tasks import Tasks
from condhpc.tui.view import Setting

EVIL = ("[/x]", "[@click=app.quit]x[/]", "\x1b[31mred\x1b[0m", "a\nb\r\tc", "\u202eright to left", "[bold", "\udc80")
NOW_S = 1_800_000_000.0


def row(key: str, state: State = "queued", detail: str = "", condenser: str = "random", **fields: object) -> Row:
    """A row of a table."""
    label = Label(dataset="digits", condenser=condenser, ipc=1)
    return Row(key=key, stage="condense", label=label, state=state, detail=detail, **fields)  # type: ignore[arg-type]


def shot(
    *rows: Row,
    problems: tuple[str, ...] = (),
    queue_error: str = "",
    taken_s: float = 0.0,
    queue_s: float | None = None,
    outlook: Outlook | None = None,
) -> Snapshot:
    """A snapshot of these rows."""
    return Snapshot(
        run="made-20260101T000000Z",
        state=findings.summary(rows),
        taken_s=taken_s or time.time(),
        queue_s=queue_s,
        queue_error=queue_error,
        counts=findings.counted(rows),
        rows=list(rows),
        problems=list(problems),
        outlook=outlook or Outlook(),
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


def watching(now: Snapshot | Exception, poll_s: float = 60.0, **setting: object) -> tuple[Watch, Source]:
    """An app and its source."""
    source = Source(now)
    return Watch(source, poll_s, Setting(**{"clock": time.time, **setting})), source  # type: ignore[arg-type]


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Let the app go on until something holds; fails after ten seconds."""
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await pilot.pause(0.01)


_KEYS = {"/": "slash", "\r": "enter", "\t": "tab", "\x1b": "escape"}


def type_fast(app: App[None], text: str) -> None:
    """All keys of a text at once, as a slow line or a paste delivers them."""
    for character in text:
        app.post_message(Key(_KEYS.get(character, character), character))


def screen(app: App[None]) -> list[str]:
    """Lines of the terminal as they are painted."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def head(app: Watch) -> str:
    """Text of the head."""
    return app.query_one("#head", Line).said


def tasks(app: Watch) -> Tasks:
    """The view of tasks."""
    return app.query_one(Tasks)


def keys(app: Watch) -> list[str]:
    """Keys of the tasks that pass the filters, in order, whether their groups are open or not."""
    table = tasks(app)._rows.table
    lines = table.shown if table._group_by is None else filter(table.is_group, table.shown)
    return [member for line in lines for member in table.members(line)]


def below(app: Watch) -> str:
    """The line under the table of tasks."""
    return tasks(app)._line.said
