"""Looks at a run in a thread of its own, less often while nothing changes, and says what changed."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

from textual.message import Message

from condhpc.findings import Row, Snapshot
from condhpc.planned import no_collection
from condhpc.tui.view import Update

_BACK_OFF = 10.0
_LONGEST_POLL_S = 300.0
IDLE_S = 900.0
"""Who has not touched a key for so long does not look: then Slurm is not asked either."""


class Source(Protocol):
    """Where snapshots come from: `observe.Observer`."""

    def snapshot(self) -> Snapshot:
        """The run now."""

    def forget(self) -> None:
        """Look at everything anew."""


class Trouble(Message):
    """No snapshot this time: an error that a user can mend, or a bug."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Poller(threading.Thread):
    """Takes snapshots until told to end. A daemon: the program ends even while squeue hangs."""

    def __init__(
        self,
        source: Source,
        post: Callable[[Message], object],
        poll_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="poller", daemon=True)
        self._source = source
        self._post = post
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._forget = False
        self._end = False
        self._last: Snapshot | None = None
        self._clock = clock
        self._stirred_s = clock()

    @property
    def is_asleep(self) -> bool:
        """Whether nobody has touched a key for long."""
        return self._clock() - self._stirred_s >= IDLE_S

    def stir(self) -> None:
        """Somebody is there: what slept looks at once."""
        was_asleep, self._stirred_s = self.is_asleep, self._clock()
        if was_asleep:
            self._wake.set()

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
        delay_s = self._poll_s
        while not self._end:
            if self.is_asleep:
                self._pause(None)
                continue
            if self._forget:
                self._forget = False
                self._source.forget()
                delay_s = self._poll_s
            update = self._look()
            if update is not None:
                before, self._last = self._last, update.snapshot
                same = before is not None and update.changed == {} and _says_the_same(before, update.snapshot)
                longest_s = min(self._poll_s * _BACK_OFF, _LONGEST_POLL_S)
                delay_s = min(delay_s * 2, max(longest_s, self._poll_s)) if same else self._poll_s
            self._pause(delay_s)

    def _pause(self, delay_s: float | None) -> None:
        self._wake.wait(delay_s)
        self._wake.clear()

    def _look(self) -> Update | None:
        try:
            with no_collection() if self._last is None else nullcontext():
                shot = self._source.snapshot()
                if self._last is None:
                    gc.freeze()  # it stays: to walk what a large run holds, as a collection would, stalls the screen
            update = Update(shot, changes(self._last.rows if self._last is not None else None, shot.rows))
        except Exception as error:  # the app's own thread raises what is a bug
            self._post(Trouble(error))
            return None
        self._post(update)
        return update


def _says_the_same(before: Snapshot, now: Snapshot) -> bool:
    """Not while records are still being read: each look reads some of them."""
    notes = now.outlook.notes
    return before.problems == now.problems and before.outlook.notes == notes and not now.outlook.is_partial


def changes(before: Sequence[Row] | None, now: Sequence[Row]) -> Mapping[str, Row] | None:
    """Rows that differ, by key; None where these are not the same tasks in the same order."""
    if before is None or len(before) != len(now):
        return None
    others = [(old, new) for old, new in zip(before, now, strict=True) if old is not new]
    if any(old.key != new.key for old, new in others):
        return None
    return {new.key: new for old, new in others if old != new}
