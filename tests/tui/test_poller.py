"""The thread that looks at a run."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
from made_clock import Clock
from made_runs import FakeQueue, MadeRun, squeue_row
from made_shots import Source, row, shot

from condhpc.findings import Snapshot
from condhpc.observe import Observer
from condhpc.outlook import Outlook
from condhpc.shared_slurm import Asking, SharedQueue
from condhpc.slurm_cache import Cache
from condhpc.tui.poller import IDLE_S, Poller, Trouble, changes
from condhpc.tui.view import Update


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


@pytest.mark.parametrize(
    "notes",
    [
        [f"costs and results are of {100 * look} of 900 tasks: more are being read" for look in range(1, 5)],
        ["costs and results are being added up"] * 4,
        ["1 records or diaries cannot be read", "2 of them", "3 of them", "4 of them"],
    ],
)
def test_poller_does_not_slow_down_while_results_are_read(notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are the same, but each look tells more; once no note changes the pause doubles."""
    task = row("a" * 32)
    source = Source(shot(task, outlook=Outlook(notes=notes[:1])))
    pauses: list[float] = []
    poller = Poller(source, lambda _: None, poll_s=30.0)

    class Woken(threading.Event):
        """Notes how long one would have waited."""

        def wait(self, timeout: float | None = None) -> bool:
            """The next note; after the last one none, and an end."""
            pauses.append(timeout or 0.0)
            source.now = shot(task, outlook=Outlook(notes=notes[len(pauses) : len(pauses) + 1]))
            if len(pauses) == 6:
                poller.end()
            return True

    monkeypatch.setattr(poller, "_wake", Woken())
    poller.run()
    assert pauses == [30.0, 30.0, 30.0, 30.0, 30.0, 60.0]


def test_what_is_read_first_is_never_searched_for_garbage() -> None:
    """It stays, and to walk it would stall the screen: set aside before collection is on again."""
    made: list[list[list[int]]] = []
    walked: list[int] = []

    class Reading(Source):
        """Makes what a large run does."""

        def snapshot(self) -> Snapshot:
            """Once more at each look."""
            made.append([[] for _ in range(20_000)])
            return shot()

    source = Reading(shot())
    poller = Poller(source, lambda _: walked.append(len(gc.get_objects())), poll_s=30.0)
    poller._pause = lambda _: poller.end() if len(made) == 2 else None  # type: ignore[method-assign]
    before = len(gc.get_objects())
    try:
        poller.run()
    finally:
        gc.unfreeze()
    assert walked[0] < before
    assert walked[1] > 20_000
    assert gc.isenabled()


def test_poller_reports_errors_instead_of_dying() -> None:
    """An exception of any kind reaches the app as a message."""
    found: list[object] = []
    poller = Poller(Source(OSError("stale file handle")), lambda m: (found.append(m), poller.end()), poll_s=1.0)
    poller.run()
    (trouble,) = found
    assert isinstance(trouble, Trouble)
    assert str(trouble.error) == "stale file handle"


def test_nobody_looks_while_nobody_is_there() -> None:
    """After a quarter of an hour without a key it sleeps without an end; a key wakes it at once."""
    source = Source(shot(row("a" * 32)))
    now = [0.0]
    poller = Poller(source, lambda _: None, poll_s=30.0, clock=lambda: now[0])
    pauses: list[float | None] = []

    class Woken(threading.Event):
        """Notes how long one would have waited; time passes, and in the end somebody comes."""

        def wait(self, timeout: float | None = None) -> bool:
            """So long; without an end until a key is pressed."""
            pauses.append(timeout)
            now[0] += timeout or 10_000.0
            if timeout is None:
                poller.stir()
            if len(pauses) == 8:
                poller.end()
            return True

    poller._wake = Woken()
    poller.run()
    assert pauses[:7] == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0, None]
    assert source.looks == 7


def test_slurm_is_not_asked_while_nobody_is_there(tmp_path: Path) -> None:
    """All the way down to squeue: calls end a quarter of an hour after the last key, and go on with the next one."""
    made, clock = MadeRun(tmp_path), Clock()
    key = made.condense()
    made.write()
    made.submit([key], job="7", sent=clock.now)
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    asking = Asking(30.0, patience_s=20.0)
    observer = Observer(made.run, made.layout, SharedQueue(queue, Cache(tmp_path / "cache", clock), asking))
    began_s = clock.now
    called_s: list[float] = []
    poller = Poller(observer, lambda _: called_s.extend([clock.now] * (queue.calls - len(called_s))), 5.0, clock)
    slept: list[int] = []

    class Woken(threading.Event):
        """Time passes; who sleeps is woken a day later, twice."""

        def wait(self, timeout: float | None = None) -> bool:
            """So long, or until a key is pressed."""
            clock.now += timeout or 86_400.0
            if timeout is None:
                slept.append(queue.calls)
                poller.stir()
            if len(slept) == 2:
                poller.end()
            return True

    poller._wake = Woken()
    poller.run()
    assert 2 <= slept[0] < slept[1]
    assert not [then for then in called_s if IDLE_S <= then - began_s < 86_400.0]


@pytest.mark.parametrize("others", [[], ["z"], ["b", "a"], ["a", "b", "c"]])
def test_other_tasks_are_not_changes(others: list[str]) -> None:
    """Where tasks came, went or changed places, all are new."""
    before = [row("a"), row("b")]
    assert changes(before, [row(key) for key in others]) is None
    assert changes(None, before) is None


def test_changes_are_rows_that_differ() -> None:
    """The same row, and an equal one, are no changes."""
    before = [row("a"), row("b"), row("c")]
    assert changes(before, [before[0], row("b"), row("c", "failed")]) == {"c": row("c", "failed")}


def test_an_update_that_was_missed_counts() -> None:
    """A view that missed one is told of the changes of both, the newer row last; of everything where one was of all."""
    old = Update(shot(), {"a": row("a", "running"), "b": row("b", "running")})
    new = Update(shot(), {"a": row("a", "recorded")})
    assert new.after(old).changed == {"a": row("a", "recorded"), "b": row("b", "running")}
    assert new.after(None) is new
    assert new.after(Update(shot(), None)).changed is None
    assert Update(shot(), None).after(old).changed is None
