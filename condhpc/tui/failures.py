"""What failed, by cause: how often, where, what it cost, what the first of each printed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from textual import on
from textual.app import ComposeResult

from condhpc import log_tail, view_tables
from condhpc.errors import CondhpcError
from condhpc.layout import RunFolder
from condhpc.log_tail import LogTail
from condhpc.outlook import FailureGroup
from condhpc.tables import printable
from condhpc.tui.beside import begin, beside
from condhpc.tui.grid import Grid
from condhpc.tui.page import Page, Part
from condhpc.tui.sheets import Sheet, plain, shape_of
from condhpc.tui.tones import TONE_OF
from condhpc.tui.view import Setting, Update, View
from condhpc.view_tables import Line

_WIDTHS = (5, 8, 5, 13, 24, 16, 10, 10, 16)
_FROM = (0, 30, 56, 50, 0, 100, 84, 130, 116)
_LOG_LINES = 30
_KEYS_SHOWN = 8
_READ_AFTER_S = 0.2


class Failures(View):
    """Causes above, the one under the cursor below; `r` tries all of its tasks again."""

    TITLE = "Failures"
    DEFAULT_CSS = "Failures > Page { border-top: solid $primary; }"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._table = view_tables.failures([])
        self._causes: Grid[Line] = Grid(self._shape(), empty="nothing failed", id="causes")
        self._about = Page(id="cause")
        self._groups: dict[str, FailureGroup] = {}
        self._logs: dict[str, list[str]] = {}
        """By key of a task: the end of its newest log."""

    def compose(self) -> ComposeResult:
        """Causes, then one of them."""
        yield self._causes
        yield self._about

    def _shape(self) -> Any:
        return shape_of(self._table, _WIDTHS, grow=4, from_widths=_FROM, tones=TONE_OF)

    def show(self, update: Update) -> None:
        """All causes anew: they are few."""
        groups = update.snapshot.outlook.failures
        table = view_tables.failures(groups)
        self._groups = {line.key: group for line, group in zip(table.lines, groups, strict=True)}
        if table == self._table:
            return
        self._table = table
        self._logs.clear()  # a task that failed anew wrote another one
        self._causes.reshape(self._shape())
        self._causes.replace(table.lines)
        self._describe(self._causes.cursor_key)

    @property
    def grid(self) -> Grid[Any]:
        """The causes."""
        return self._causes

    def tasks_of(self, lines: list[str]) -> list[str]:
        """Tasks of these causes."""
        held = self._causes.table.rows
        return list(dict.fromkeys(key for line in lines for key in held[line].tasks))

    def sheet(self) -> Sheet:
        """The causes as they are."""
        return self._table.header, self._table.rows()

    @on(Grid.Pointed)
    def describe(self, message: Grid.Pointed) -> None:
        """The cause under the cursor."""
        self._describe(message.key)

    @on(Grid.Picked)
    def open_log(self, message: Grid.Picked) -> None:
        """The log of its first task."""
        group = self._groups.get(message.key or "")
        if group is not None and group.keys:
            self.post_message(self.Opened("log", group.keys[0]))

    def _describe(self, line: str | None) -> None:
        group = self._groups.get(line or "")
        first = group.keys[0] if group is not None and group.keys else ""
        self._about.set_lines([] if group is None else cause_lines(group, self._logs.get(first)))
        if first and first not in self._logs and self.setting.folder is not None:
            begin(self, partial(self._read, self.setting.folder, first, line), "log", exclusive=True)

    async def _read(self, folder: RunFolder, key: str, line: str | None) -> None:
        await asyncio.sleep(_READ_AFTER_S)  # a cursor that only passes by reads nothing
        try:
            self._logs[key] = await beside(lambda: end_of_log(folder, key))
        except (CondhpcError, OSError) as error:
            self._logs[key] = [str(error)]
        if self._causes.cursor_key == line:
            self._describe(line)


def end_of_log(folder: RunFolder, key: str) -> list[str]:
    """The last lines of the newest log of a task that has one."""
    paths: list[Path] = [source.path for source in log_tail.sources(folder, key) if source.path is not None]
    for path in paths:
        tail = LogTail(path)
        tail.poll()
        if lines := tail.lines:
            return lines[-_LOG_LINES:]
    return []


def cause_lines(group: FailureGroup, log: Sequence[str] | None) -> list[list[Part]]:
    """A cause in full; `log` is None while it is being read."""
    keys = " ".join(key[:12] for key in group.keys[:_KEYS_SHOWN])
    more = f" and {len(group.keys) - _KEYS_SHOWN} more" if len(group.keys) > _KEYS_SHOWN else ""
    facts = [
        ("example", group.example),
        ("stages", " ".join(group.stages)),
        ("nodes", " ".join(group.nodes)),
        ("tasks", keys + more),
    ]
    lines: list[list[Part]] = [[(f"{name:<8}", "dim"), (printable(text), "")] for name, text in facts if text]
    title = "its log is being read ..." if log is None else "end of the first one's log" if log else "no log of it"
    return [*lines, [], [(title, "busy")], *plain(log or ())]
