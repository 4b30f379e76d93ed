"""What a task printed, as it prints it, and what each of its attempts said."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from condhpc import log_tail, log_view
from condhpc.errors import CondhpcError
from condhpc.layout import Layout, RunFolder
from condhpc.log_tail import DIARY, LogSource, LogTail
from condhpc.runs import PlanLine
from condhpc.set_card import size_text
from condhpc.tui.beside import begin, beside
from condhpc.tui.line import Line
from condhpc.tui.text_pane import TextPane
from condhpc.tui.view import Known, Setting, Update, View

T = TypeVar("T")
POLL_S = 2.0
NEWEST_EVERY_S, _NEWEST_SHARE = 5.0, 20
"""Pause between two looks for the newest log, and how many times as long as the look it is: a run may have 100,000."""
_NEWEST = "the log that was written last; `l` on a task shows that task's"


class Log(View):
    """One source at a time: a log of an attempt, or the diary of all of them."""

    TITLE = "Log"
    DEFAULT_CSS = """
    Log > TextPane { height: 1fr; }
    Log > #log-title { height: auto; max-height: 3; border-bottom: solid $primary; }
    Log > #log-needle { display: none; height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow", id="log.follow"),
        Binding("w", "wrap", "Wrap", id="log.wrap"),
        Binding("slash", "search", "Search", key_display="/", priority=True, id="log.search"),
        Binding("n", "next(1)", "Next place", show=False, id="log.next"),
        Binding("N", "next(-1)", "Place before", show=False, id="log.previous"),
        Binding("right_square_bracket,o", "source(1)", "Attempt before", show=False, id="log.older"),
        Binding("left_square_bracket,O", "source(-1)", "Attempt after", show=False, id="log.newer"),
        # Priority: what is typed fast after these two is no text.
        Binding("enter", "entered", show=False, priority=True),
        Binding("escape", "leave_search", "No search", show=False, priority=True, id="log.leave_search"),
    ]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._title = Line(id="log-title")
        self._pane = TextPane(id="log-text")
        self._needle = Input(placeholder="text to search", id="log-needle")
        self._rows = Known()
        self._key = ""
        self._sources: list[LogSource] = []
        self._place = 0
        self._tail: LogTail | None = None
        self._dropped = 0
        self._follows = True
        self._busy = False
        self._sent: tuple[str, int | None] | None = None
        """Element and attempts of the task when its logs were looked for."""
        self._seeks_newest = False
        self._next_newest_s = 0.0
        self._words = ""
        self._amiss = ""
        """Why not all logs of the task are here."""

    def compose(self) -> ComposeResult:
        """What is read, the text, a line to search in."""
        yield self._title
        yield self._pane
        yield self._needle

    def on_mount(self) -> None:
        """Look again and again while this view is in front."""
        self.set_interval(POLL_S, self._poll)

    def show(self, update: Update) -> None:
        """What is known of tasks; before one was asked for, the newest log of the run."""
        self._rows.take(update.snapshot.rows)
        folder = self.setting.folder
        if folder is not None and not self._key:
            self._seek_newest(folder)
        elif folder is not None and self._sent_now() != self._sent:
            self._seek(folder)
        self._poll()

    def about(self, key: str) -> None:
        """Logs of that task."""
        self._key = key
        self._sources, self._tail, self._follows = [], None, True
        self._words, self._amiss = "looking for logs ...", ""
        self._pane.set_lines(())
        self._tell()
        if self.setting.folder is not None:
            self._seek(self.setting.folder)

    @property
    def selected(self) -> list[str]:
        """The task whose log this is."""
        return [self._key] if self._key else []

    # -- reading -------------------------------------------------------------------------------------------------

    def _sent_now(self) -> tuple[str, int | None] | None:
        row = self._rows.get(self._key)
        return None if row is None else (row.element, row.attempts)

    def _seek(self, folder: RunFolder) -> None:
        """Logs of the task; again where it was sent again."""
        self._sent = self._sent_now()
        begin(self, partial(self._load, folder, self._key), "log", exclusive=True)

    def _seek_newest(self, folder: RunFolder) -> None:
        """One look at a time, and none while somebody reads what is there."""
        is_read = bool(self._sources) and not self._follows
        if not (is_read or self._seeks_newest or time.monotonic() < self._next_newest_s):
            self._seeks_newest = True
            begin(self, partial(self._load_newest, folder), "log", exclusive=True)

    async def _load_newest(self, folder: RunFolder) -> None:
        none: list[Path] = []
        began_s = time.monotonic()
        try:
            paths = await self._tried(lambda: log_view.newest_logs(folder)[:1], none)
        finally:
            now_s, self._seeks_newest = time.monotonic(), False
        if self._key or not paths:
            self._words = self._words or "no log yet"
            self._tell()
            return
        self._next_newest_s = now_s + max(NEWEST_EVERY_S, _NEWEST_SHARE * (now_s - began_s))
        self._take([LogSource(title=f"{paths[0].parent.name}/{paths[0].name}: {_NEWEST}", path=paths[0])])

    async def _load(self, folder: RunFolder, key: str) -> None:
        self._take(await self._tried(lambda: log_tail.sources(folder, key), self._sources or [DIARY]))

    def _take(self, sources: list[LogSource]) -> None:
        """Turn to the newest of these, but pull nobody away who reads an older one or does not follow."""
        here = self._sources[self._place] if self._sources else None
        if here in sources and (here == sources[0] or self._place or not self._follows):
            self._sources, self._place = sources, sources.index(here)
            self._tell()
        else:
            self._open(sources)

    async def _tried(self, work: Callable[[], T], otherwise: T) -> T:
        """What a file system that does not answer, or a damaged run, leaves of it."""
        try:
            return await beside(work)
        except (CondhpcError, OSError) as error:
            self._amiss = str(error)
            return otherwise

    def _open(self, sources: list[LogSource], place: int = 0) -> None:
        self._sources, self._place = sources, place
        path = sources[place].path
        self._tail = None if path is None else LogTail(path)
        self._dropped = 0
        self._words = "reading ..."
        self._pane.set_lines(())
        self._poll()

    def _poll(self) -> None:
        """One look at a time; none while another view is in front."""
        if not self.display or self._busy or not self._sources:
            return
        self._busy = True
        begin(self, partial(self._look, self._tail, self._key), "look")

    async def _look(self, tail: LogTail | None, key: str) -> None:
        nothing: list[str] = []
        try:
            if tail is not None:
                changed = await self._tried(tail.poll, otherwise=False)
                self._take_tail(tail, changed=changed)
            else:
                lines = await self._tried(lambda: self._diary(key), nothing)
                if self._tail is None and key == self._key and lines != self._pane.lines:
                    self._words = ""
                    self._pane.set_lines(lines)
            self._tell()
        finally:
            self._busy = False
        if tail is not self._tail or key != self._key:
            self._poll()  # another source was asked for meanwhile

    def _take_tail(self, tail: LogTail, *, changed: bool) -> None:
        if tail is not self._tail:
            return
        self._follows = self._follows and self._pane.is_at_end  # who scrolled up reads
        if not (changed or self._words):
            return
        self._words = tail.note
        if tail.skipped_bytes:
            self._words = f"its end; {size_text(tail.skipped_bytes)} before it are not shown"
        dropped, self._dropped = tail.dropped - self._dropped, tail.dropped
        self._pane.set_lines(tail.lines, dropped)
        if self._follows:
            self._pane.to_end()

    def _diary(self, key: str) -> list[str]:
        row, layout = self._rows.get(key), self.setting.layout
        if row is None or not isinstance(layout, Layout):
            return ["nothing is known of this task"]
        return log_tail.diary(layout, PlanLine(key=row.key, stage=row.stage, label=row.label))

    # -- what it says of itself ----------------------------------------------------------------------------------

    def _tell(self) -> None:
        row = self._rows.get(self._key)
        task = f"{row.stage} {row.key[:12]} {log_view.label_text(row.label)}, {row.state}" if row is not None else ""
        source = self._sources[self._place].title if self._sources else ""
        many = f"{self._place + 1} of {len(self._sources)}: [ and ] turn" if len(self._sources) > 1 else ""
        pane = self._pane
        parts = [  # names are long and come below: what does not fit is cut
            self._amiss,
            self._words,
            f"'{pane.needle}': {pane.here + 1 if pane.found else 0} of {len(pane.found)}" if pane.needle else "",
            "following" if self._follows and self._tail is not None else "",
            "wrapped" if pane.wraps else "",
            many,
        ]
        lines = ("  ".join(filter(None, line)) for line in (parts, (task, source)))
        self._title.say("\n".join(filter(None, lines)))

    # -- keys ----------------------------------------------------------------------------------------------------

    def action_follow(self) -> None:
        """Stay at the end as the log grows, or stay where one reads."""
        self._follows = not self._follows
        if self._follows:
            self._pane.to_end()
        self._tell()

    def action_wrap(self) -> None:
        """Fold long lines or not."""
        self._pane.set_wrap(wraps=not self._pane.wraps)
        if self._follows:
            self._pane.to_end()
        self._tell()

    def action_source(self, by: int) -> None:
        """Another attempt's log, or the diary."""
        if self._sources:
            self._open(self._sources, (self._place + by) % len(self._sources))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In the line to search in a slash is text, and enter leaves it."""
        del parameters
        is_typing = self.screen.focused is self._needle
        return {"search": not is_typing, "entered": is_typing}.get(action, True)

    def action_search(self) -> None:
        """Ask for a text."""
        self._needle.display = True
        self.screen.set_focus(self._needle)  # at once: the next key is text

    @on(Input.Changed, "#log-needle")
    def search_as_typed(self, event: Input.Changed) -> None:
        """Mark at each key; reading a place and following exclude each other."""
        event.stop()
        self._follows = self._follows and not event.value
        self._pane.search(event.value)
        self._tell()

    def action_entered(self) -> None:
        """Back to the text; `n` and `N` go on."""
        self.screen.set_focus(self._pane)
        self._needle.call_later(self._close_search)  # after the keys that are on their way to it

    def _close_search(self) -> None:
        self._needle.display = bool(self._needle.value)

    def action_leave_search(self) -> None:
        """Nothing is marked."""
        self.screen.set_focus(self._pane)
        self._needle.call_later(self._forget_search)

    def _forget_search(self) -> None:
        self._needle.value = ""
        self._needle.display = False

    def action_next(self, by: int) -> None:
        """To another place of what was searched."""
        self._follows = False
        self._pane.go(by)
        self._tell()
