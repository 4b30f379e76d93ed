"""Who is gone: by the queue, and by heartbeats that stand still on the clock of whoever looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from made_runs import squeue_row

from condhpc import lease, owners, scheduler
from condhpc.errors import SchedulerError
from condhpc.layout import TaskFolder
from condhpc.lease import Attempt, Lease
from condhpc.owners import Watch, left_queue
from condhpc.slurm_text import QueueRow, parse_squeue


@pytest.fixture
def folder(tmp_path: Path, outside_slurm: None) -> TaskFolder:
    """Folder of a task that nobody has tried."""
    (tmp_path / "k").mkdir()
    return TaskFolder(tmp_path / "k")


def _held(folder: TaskFolder) -> Lease:
    found = lease.acquire(folder, lease.myself(), lambda _: False)
    assert found is not None
    return found


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_watch_counts_only_its_own_clock_and_only_while_the_value_stands(folder: TaskFolder) -> None:
    """A heartbeat is stale after `stale_s` of looking at one value; each change, whatever it says, starts anew."""
    clock = _Clock()
    watch = Watch(900.0, clock)
    held = _held(folder)

    def is_stale() -> bool:
        found = lease.read_attempt(folder, lease.latest_number(folder))
        assert found is not None
        return watch.is_stale(folder, found)

    clock.now = 1e6
    assert not is_stale()  # the first look, however old the file
    clock.now += 899.0
    assert not is_stale()
    held.pulse(step=0, total=0, values={}, cost={})
    clock.now += 899.0
    assert not is_stale()
    clock.now += 899.9
    assert not is_stale()
    clock.now += 0.1
    assert is_stale()
    assert lease.acquire(folder, lease.myself(), lambda held: watch.is_stale(folder, held)) is not None
    clock.now += 1.0
    assert not is_stale()  # the new generation


def test_watch_ignores_the_owners_clock(folder: TaskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats from a node whose wall clock is years off, forwards or back, are signs of life all the same."""
    clock = _Clock()
    watch = Watch(10.0, clock)
    held = _held(folder)
    for wall in (4e9, 1.0, 1.0):
        monkeypatch.setattr("condhpc.lease.time.time", lambda wall=wall: wall)
        held.pulse(step=0, total=0, values={}, cost={})
        clock.now += 9.0
        found = lease.read_attempt(folder, 1)
        assert found is not None
        assert not watch.is_stale(folder, found)


# -- the queue ---------------------------------------------------------------------------------------------------


class FakeSlurm:
    """A queue with these rows, or one that does not answer."""

    def __init__(self, *rows: str, here: bool = True, error: Exception | None = None) -> None:
        self.rows, self.here, self.error = rows, here, error
        self.asked: list[list[str]] = []

    def available(self) -> bool:
        """Whether this machine has Slurm."""
        return self.here

    def queue(self, jobs: list[str]) -> list[QueueRow]:
        """Note, and answer."""
        self.asked.append(jobs)
        if self.error is not None:
            raise self.error
        return parse_squeue("".join(self.rows))


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """What the module asks; each test begins with nothing remembered, in one period of asking."""
    found = FakeSlurm()
    monkeypatch.setattr(scheduler, "Slurm", lambda: found)
    monkeypatch.setattr("condhpc.owners.time.monotonic", lambda: 1000.0)
    owners._is_gone.cache_clear()
    yield found
    owners._is_gone.cache_clear()


def _of_job(folder: TaskFolder, job: str) -> Attempt:
    """An attempt that says nothing of its end, by that job."""
    assert lease.acquire(folder, msgspec.structs.replace(lease.myself(), job=job), lambda _: True) is not None
    found = lease.read_attempt(folder, lease.latest_number(folder))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("row", "gone"),
    [
        (squeue_row("608_3", "RUNNING"), False),
        (squeue_row("608_[0-5]", "PENDING"), False),
        (squeue_row("608_3", "COMPLETED"), True),
        (squeue_row("608_4", "RUNNING"), True),
        ("", True),
    ],
)
def test_an_owner_is_gone_when_its_element_left_the_queue(
    folder: TaskFolder, queue: FakeSlurm, row: str, gone: object
) -> None:
    """What waits may be its requeued start; what squeue shows as ended is over; other elements prove nothing."""
    queue.rows = (row,)
    assert left_queue(folder, _of_job(folder, "608_3"), "") is gone
    assert queue.asked == [["608_3"]]


def test_the_queue_is_asked_for_jobs_of_our_own_user_alone(
    folder: TaskFolder, queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work without a job, our own job, and a colleague's, whom our queue does not show, prove nothing."""
    held = _of_job(folder, "608_3")
    assert not left_queue(folder, held, "608_3")
    assert not left_queue(folder, _of_job(folder, ""), "")
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert not left_queue(folder, held, "")
    assert queue.asked == []


@pytest.mark.parametrize("fields", [{"here": False}, {"error": SchedulerError("no answer")}])
def test_without_an_answer_nobody_is_gone(folder: TaskFolder, queue: FakeSlurm, fields: dict[str, object]) -> None:
    """A controller that is away must not have live work computed twice."""
    vars(queue).update(fields)
    assert not left_queue(folder, _of_job(folder, "608_3"), "")


def test_one_job_is_asked_for_twice_a_minute(
    folder: TaskFolder, queue: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often somebody waits for its lease."""
    held = _of_job(folder, "608_3")
    assert [left_queue(folder, held, "") for _ in range(5)] == [True] * 5
    assert len(queue.asked) == 1
    monkeypatch.setattr("condhpc.owners.time.monotonic", lambda: 1031.0)
    assert left_queue(folder, held, "")
    assert len(queue.asked) == 2
