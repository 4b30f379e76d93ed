"""`condhpc watch`: a run's tasks in a table that keeps itself up to date. Nothing is computed here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar, Protocol

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Footer, Input, Static

from condhpc.errors import CondhpcError
from condhpc.findings import Snapshot
from condhpc.tables import duration, printable
from condhpc.task_state import STATES
from condhpc.tui.task_table import TaskTable

REFRESH_EVERY_S = 5.0
"""Refreshing by hand more often asks nobody: squeue is shared with all users."""
_BACK_OFF = 10.0
_LONGEST_POLL_S = 300.0
_AGE_EVERY_S = 5.0


class Source(Protocol):
    """Where snapshots come from: `observe.Observer`."""

    def snapshot(self) -> Snapshot:
        """The run now."""

    def forget(self) -> None:
        """Look at everything anew."""


class Fresh(Message):
    """A new snapshot."""

    def __init__(self, shot: Snapshot) -> None:
        super().__init__()
        self.shot = shot


class Trouble(Message):
    """No snapshot this time: an error that a user can mend, or a bug."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Poller(threading.Thread):
    """Takes snapshots in a thread of its own, less often while nothing changes.

    A daemon: the program ends even while squeue hangs.
    """

    def __init__(self, source: Source, post: Callable[[Message], object], poll_s: float) -> None:
        super().__init__(name="poller", daemon=True)
        self._source = source
        self._post = post
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._forget = False
        self._end = False

    def look_now(self) -> None:
        """Take a snapshot at once, from everything anew."""
        self._forget = True
        self._wake.set()

    def end(self) -> None:
        """Take no more snapshots."""
        self._end = True
        self._wake.set()

    def run(self) -> None:
        """Poll until told to end."""
        last: Snapshot | None = None
        delay_s = self._poll_s
        while not self._end:
            if self._forget:
                self._forget = False
                self._source.forget()
                delay_s = self._poll_s
            shot = self._look()
            if shot is not None:
                same = last is not None and (shot.rows, shot.problems) == (last.rows, last.problems)
                longest_s = min(self._poll_s * _BACK_OFF, _LONGEST_POLL_S)
                delay_s = min(delay_s * 2, max(longest_s, self._poll_s)) if same else self._poll_s
                last = shot
            self._wake.wait(delay_s)
            self._wake.clear()

    def _look(self) -> Snapshot | None:
        try:
            shot = self._source.snapshot()
        except Exception as error:  # the app's own thread raises what is a bug
            self._post(Trouble(error))
            return None
        self._post(Fresh(shot))
        return shot


class Watch(App[None]):
    """Header, table, the row under the cursor in full, keys."""

    TITLE = "condhpc watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head, #row { height: auto; max-height: 4; }
    #row { border-top: solid $primary; }
    #filter { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("r", "look", "Refresh"),
        Binding("f", "failures", "Failures only"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "unfilter", "All", show=False),
    ]

    def __init__(self, source: Source, poll_s: float, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.animation_level = "none"
        self._poller = Poller(source, self.post_message, poll_s)
        self._clock = clock
        self._looked = float("-inf")
        self._shot: Snapshot | None = None
        self._trouble = ""
        self._failures_only = False
        # Held, not queried: a last message may come when the screen is being taken down.
        self._head = Static(Text("looking …"), id="head", markup=False)
        self._table = TaskTable()
        self._row = Static(Text(""), id="row", markup=False)
        self._needle = Input(placeholder="text in any column", id="filter")

    def compose(self) -> ComposeResult:
        """Top to bottom."""
        yield self._head
        yield self._table
        yield self._row
        yield self._needle
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._table.focus()
        self._poller.start()
        self.set_interval(_AGE_EVERY_S, self._show_head)

    def on_unmount(self) -> None:
        """Stop looking."""
        self._poller.end()

    @on(Fresh)
    def show(self, message: Fresh) -> None:
        """A new snapshot into table and header."""
        self._shot, self._trouble = message.shot, ""
        self._table.set_rows(message.shot.rows, message.shot.taken_s)
        self._show_head()

    @on(Trouble)
    def explain(self, message: Trouble) -> None:
        """An error that passes is shown; a bug keeps its traceback."""
        if not isinstance(message.error, CondhpcError | OSError):
            raise message.error
        self._trouble = str(message.error)
        self._show_head()

    @on(TaskTable.Pointed)
    def describe(self, message: TaskTable.Pointed) -> None:
        """The row under the cursor in full."""
        row = message.row
        text = "" if row is None else f"{row.stage} {row.key}  {row.state}  {row.detail}"
        _set(self._row, printable(text))

    def head_text(self) -> str:
        """Run, state, counts, age of the data, what is wrong."""
        shot = self._shot
        if shot is None:
            return self._trouble or "looking …"
        counts = ", ".join(f"{shot.total(state)} {state}" for state in STATES if shot.total(state)) or "no tasks"
        seen_s = shot.queue_s if shot.queue_error else shot.taken_s
        age = "queue unknown" if seen_s is None else f"data {duration(self._clock() - seen_s)} old"
        problem = self._trouble or (shot.problems[0] if shot.problems else "")
        head = f"{shot.run}: {shot.state} · {counts} · {age}"
        return f"{head}\n{problem}" if problem else head

    def _show_head(self) -> None:
        _set(self._head, "\n".join(map(printable, self.head_text().split("\n"))))

    def action_look(self) -> None:
        """Refresh, at most every few seconds."""
        now = time.monotonic()
        if now - self._looked < REFRESH_EVERY_S:
            self.notify(f"at most every {REFRESH_EVERY_S:g} s: Slurm is shared", markup=False)
            return
        self._looked = now
        self._poller.look_now()

    def action_failures(self) -> None:
        """Toggle between all rows and those that something went wrong for."""
        self._failures_only = not self._failures_only
        self._apply()

    def action_filter(self) -> None:
        """Ask for a text to filter by."""
        self._needle.display = True
        self._needle.focus()

    def action_unfilter(self) -> None:
        """All rows again."""
        self._needle.value = ""
        self._failures_only = False
        self._close_filter()

    @on(Input.Changed, "#filter")
    def filter_as_typed(self) -> None:
        """Filter at each key."""
        self._apply()

    @on(Input.Submitted, "#filter")
    def _close_filter(self) -> None:
        self._needle.display = False
        self._table.focus()
        self._apply()

    def _apply(self) -> None:
        self._table.set_filter(failures_only=self._failures_only, needle=self._needle.value)


def _set(widget: Static, text: str) -> None:
    """Paint only what is new."""
    if str(widget.content) != text:
        widget.update(Text(text))
