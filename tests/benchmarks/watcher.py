"""What `bench_watch_disk.py` measures: `condhpc watch` on a run, that notes how long its event loop does not answer.

A module of its own, since its process is to hold nothing that the command does not: pytest alone is 6 MB.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from condhpc import files
from condhpc import profile as profiles
from condhpc.layout import Layout
from condhpc.observe import Observer
from condhpc.steward import Beside
from condhpc.tui import start
from condhpc.tui.app import Watch
from condhpc.tui.card import Card
from condhpc.tui.view import Setting, Update

ON_SCREEN_S = 2.0


class Result(msgspec.Struct):
    """What was measured."""

    read_mb: float = 0.0
    """Resident after all was read."""
    views_mb: float = 0.0
    """Resident after all views were shown."""
    reading_stall_ms: float = 0.0
    """Longest while records are read."""
    views_stall_ms: float = 0.0
    """Longest while views are turned."""
    stalls: dict[str, int] = {}
    """How many stalls were longer than so many milliseconds."""
    wall_stall_ms: float = 0.0
    """Longest by the wall clock alone: other programs count."""
    read_s: float = 0.0
    picture_lines: int = 0
    """Of the set's pictures, on the screen at the end."""


class Measured(Watch):
    """Notes how long its event loop does not answer."""

    def __init__(self, source: Beside, setting: Setting, result: Path) -> None:
        super().__init__(source, 1.0, setting)
        self._result = result
        self.found = Result()
        self._read = False
        self._beats: asyncio.Task[None] | None = None
        self._began = time.monotonic()

    def on_ready(self) -> None:
        """The terminal shows something."""
        self._beats = asyncio.create_task(self._beat())

    def on_update(self, message: Update) -> None:
        """Whether all was read."""
        if not self._read and not message.snapshot.outlook.notes:
            self._read, self.found.read_s = True, time.monotonic() - self._began
            self.set_interval(ON_SCREEN_S, self._write)

    def _write(self) -> None:
        self.found.picture_lines = len(self.query_one(Card).picture)
        files.replace(self._result, msgspec.json.encode(self.found))

    async def _beat(self) -> None:
        while True:
            wall_s, cpu_s = time.monotonic(), time.process_time()
            await asyncio.sleep(0.005)
            wall_ms = 1000 * (time.monotonic() - wall_s)
            stall_ms = min(wall_ms, 1000 * (time.process_time() - cpu_s))
            name = "views_stall_ms" if self._read else "reading_stall_ms"
            setattr(self.found, name, max(getattr(self.found, name), stall_ms))
            self.found.wall_stall_ms = max(self.found.wall_stall_ms, wall_ms)
            for limit in (20, 50, 100):
                self.found.stalls[str(limit)] = self.found.stalls.get(str(limit), 0) + (stall_ms > limit)

    async def action_quit(self) -> None:
        """Tell what was found."""
        self._write()
        await super().action_quit()


def watch(root: Path, result: Path) -> None:
    """What the process on the pseudo-terminal runs."""
    layout = Layout(root)
    run = layout.run(layout.run_names()[0])
    profile = profiles.resolve(None, str(root), {})
    source = Beside(Observer(run, layout, None), run, profile, None)
    start.tuned()
    setting = Setting(clock=time.time, folder=run, layout=layout)
    Measured(source, setting, result).run()
