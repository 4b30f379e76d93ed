"""Watchers that ask Slurm together: a fake clock, two watchers of one cache, and squeue commands that hang or fail."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_clock import Clock
from made_runs import FakeQueue, MadeRun, squeue_row

from condhpc import accounts
from condhpc.errors import SchedulerError
from condhpc.observe import Observer
from condhpc.scheduler import Slurm
from condhpc.shared_slurm import Asking, SharedQueue, SharedSlurm
from condhpc.slurm_cache import Cache

PATIENCE_S = 20.0


@pytest.fixture
def clock() -> Clock:
    """For all watchers of a test."""
    return Clock()


@pytest.fixture
def watcher(tmp_path: Path, clock: Clock) -> Callable[..., SharedQueue]:
    """Makes a watcher with a cache of its own on the same files."""

    def make(slurm: Slurm, **options: float | bool) -> SharedQueue:
        asking = Asking(**({"poll_s": 30.0, "patience_s": PATIENCE_S} | options))  # type: ignore[arg-type]
        return SharedQueue(slurm, Cache(tmp_path / "cache", clock), asking)

    return make


def test_two_watchers_cost_one_poller(watcher: Callable[..., SharedQueue], clock: Clock) -> None:
    """Over ten minutes both see each answer, and squeue is called once in an interval."""
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    first, second = watcher(queue), watcher(queue)
    for minute in range(20):
        queue.text = squeue_row("7_0", "PENDING", f"Reason{minute}")
        seen = [first.answer(["7"], 0.0), second.answer(["7"], 0.0)]
        assert seen[0].rows == seen[1].rows
        assert seen[0].rows is not None
        assert [row.reason for row in seen[0].rows] == [f"Reason{minute}"]
        for _ in range(9):
            clock.now += 3.0
            first.answer(["7"], 0.0)
            second.answer(["7"], 0.0)
        clock.now += 6.1
    assert queue.calls == 20
    assert first.calls().squeue_last_h == second.calls().squeue_last_h == 20


def test_while_nothing_changes_it_is_asked_less_often(watcher: Callable[..., SharedQueue], clock: Clock) -> None:
    """In one hour of an unchanged queue some 15 calls in place of 120; each look still has the answer."""
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    one = watcher(queue)
    for _ in range(1200):
        assert one.answer(["7"], 0.0).rows is not None
        clock.now += 3.0
    assert 12 <= queue.calls <= 18
    assert one.calls().squeue_every_s >= 300.0
    assert one.calls().next_s is not None


def test_what_was_sent_since_ends_the_back_off(watcher: Callable[..., SharedQueue], clock: Clock) -> None:
    """The queue must show it; the first interval counts, not the doubled one."""
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    one = watcher(queue)
    for _ in range(4):
        one.answer(["7"], 0.0)
        clock.now += 301 * 1.1
    one.answer(["7"], 0.0)
    calls = queue.calls
    clock.now += 40.0
    one.answer(["7"], 0.0)
    assert queue.calls == calls
    one.answer(["7"], clock.now)
    assert queue.calls == calls + 1


def test_refreshing_by_hand_asks_at_most_every_five_seconds(watcher: Callable[..., SharedQueue], clock: Clock) -> None:
    """Whoever of the watchers wants it, and however often."""
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    first, second = watcher(queue), watcher(queue)
    first.answer(["7"], 0.0)
    for _ in range(10):
        clock.now += 1.0
        for one in (first, second):
            one.hurry()
            one.answer(["7"], 0.0)
    assert queue.calls == 3


def test_a_single_look_takes_what_is_young_enough_and_asks_otherwise(
    watcher: Callable[..., SharedQueue], clock: Clock
) -> None:
    """However far watchers have backed off, an answer older than `poll_s` does not do for `condhpc status`."""
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    for _ in range(5):
        watcher(queue).answer(["7"], 0.0)
        clock.now += 330.0
    calls = queue.calls
    watcher(queue, backs_off=False).answer(["7"], 0.0)
    assert queue.calls == calls + 1
    clock.now += 29.0
    watcher(queue, backs_off=False).answer(["7"], 0.0)
    assert queue.calls == calls + 1
    clock.now += 2.0
    watcher(queue, backs_off=False).answer(["7"], 0.0)
    assert queue.calls == calls + 2


def test_a_failure_leaves_the_old_rows_and_says_why_to_all(watcher: Callable[..., SharedQueue], clock: Clock) -> None:
    """Also to the watcher that did not ask; nobody asks again before the interval."""
    queue = FakeQueue(squeue_row("7_0", "PENDING"))
    first, second = watcher(queue), watcher(queue)
    rows = first.answer(["7"], 0.0).rows
    asked_s = clock.now
    queue.error = SchedulerError("squeue: down")
    clock.now += 34.0
    for one in (first, second):
        answer = one.answer(["7"], 0.0)
        assert (answer.rows, answer.asked_s, answer.error) == (rows, asked_s, "squeue: down")
    assert queue.calls == 2


class Hanging(FakeQueue):
    """A squeue that answers when it is told."""

    def __init__(self, *rows: str) -> None:
        super().__init__(*rows)
        self.go = threading.Event()

    def queue(self, jobs: object = None, names: object = None) -> list:  # type: ignore[type-arg]
        """Wait, then as it is."""
        assert self.go.wait(PATIENCE_S)
        return super().queue(jobs, names)


def test_a_hanging_squeue_is_old_data_and_no_frozen_screen(
    watcher: Callable[..., SharedQueue], clock: Clock, tmp_path: Path
) -> None:
    """A snapshot comes in time with the old queue and its age; local files go on to be read; later the answer comes."""
    made = MadeRun(tmp_path)
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.submit([a], [b], job="7", sent=clock.now - 5000)
    queue = Hanging(squeue_row("7_[0-1]", "PENDING"))
    queue.go.set()
    shared = watcher(queue, patience_s=0.2)
    observer = Observer(made.run, made.layout, shared, clock=clock)
    first = observer.snapshot()
    assert [row.state for row in first.rows] == ["queued", "queued"]
    queue.go.clear()
    clock.now += 34.0
    made.hint(name, 0, a, "recorded")
    began = time.monotonic()
    second = observer.snapshot()
    assert time.monotonic() - began < PATIENCE_S / 2
    assert [row.state for row in second.rows] == ["recorded", "queued"]
    assert second.queue_s == first.queue_s
    assert "not answered" in second.queue_error
    assert second.rows[1] is first.rows[1]
    queue.text = squeue_row("7_1", "RUNNING")
    queue.go.set()
    deadline = time.monotonic() + PATIENCE_S
    while observer.snapshot().queue_error:
        assert time.monotonic() < deadline
    assert observer.snapshot().queue_s == clock.now
    assert observer.snapshot().outlook.calls.squeue_last_h == 2


def shim(folder: Path, body: str) -> Slurm:
    """A Slurm whose squeue is a shell script that counts its calls."""
    folder.mkdir()
    script = folder / "squeue"
    script.write_text(f"#!/bin/sh\necho x >> {folder}/calls\n{body}\n")
    script.chmod(0o755)
    return Slurm(timeout_s=0.5, env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"})


@pytest.mark.parametrize(
    ("body", "said"),
    [("exec sleep 60", "no answer within"), ("echo 'Socket timed out on send/recv' >&2; exit 1", "Socket")],
)
def test_real_commands_that_hang_or_fail_are_called_once(
    watcher: Callable[..., SharedQueue], tmp_path: Path, body: str, said: str
) -> None:
    """Two watchers of a controller that does not answer: one call, its words for both, nothing called lost."""
    slurm = shim(tmp_path / "bin", body)
    made = MadeRun(tmp_path)
    key = made.condense()
    made.write()
    made.submit([key], job="7", sent=1.0)
    for _ in range(2):
        shot = Observer(made.run, made.layout, watcher(slurm)).snapshot()
        assert said in shot.queue_error
        assert [row.state for row in shot.rows] == ["queued"]
    assert (tmp_path / "bin" / "calls").read_text() == "x\n"


def test_what_acts_beside_looking_asks_anew_after_its_own_deeds(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old rows would have a budget hold, then cancel, what is held already."""
    asked: list[str] = []

    def run(self: Slurm, command: list[str]) -> str:
        asked.append(command[0])
        return squeue_row("7_[0-3]", "PENDING", "JobHeldUser" if "scontrol" in asked else "Priority")

    monkeypatch.setattr(Slurm, "_run", run)
    slurm = SharedSlurm(Cache(tmp_path, clock), 30.0)
    assert [row.reason for row in slurm.queue(["7"])] == ["Priority"]
    assert slurm.queue(["8"]) == []
    assert asked == ["squeue"]
    slurm.hold(["7"])
    assert [row.reason for row in slurm.queue(["7"])] == ["JobHeldUser"]
    assert asked == ["squeue", "scontrol", "squeue"]
    assert len(Cache(tmp_path, clock).state().squeue.last_h) == 2


def test_the_accounting_is_asked_by_one_watcher_in_two_minutes(tmp_path: Path, clock: Clock) -> None:
    """`accounts.refresh` leaves a run's snapshot as it is while it is not due."""
    made = MadeRun(tmp_path)
    key = made.condense()
    made.write()
    made.submit([key], job="7", sent=1.0)
    asked: list[str] = []

    class Watching(SharedSlurm):
        def history(self, parents: object, since_s: int) -> None:
            """Count."""
            del parents, since_s
            asked.append("sacct")

    first, second = (Watching(Cache(tmp_path / "cache", clock), 30.0) for _ in range(2))
    for _ in range(8):
        accounts.refresh(made.run, made.layout, first)
        accounts.refresh(made.run, made.layout, second)
        clock.now += 34.0
    assert asked == ["sacct", "sacct"]
    assert Slurm().may_ask_history()
