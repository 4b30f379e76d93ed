"""Whether the owner of a lease is gone, as far as the queue or its heartbeat can tell."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from condhpc import scheduler
from condhpc.errors import SchedulerError
from condhpc.layout import TaskFolder
from condhpc.lease import Attempt

_QUEUE_POLL_S = 30.0


class Watch:
    """Notices leases whose heartbeat value stands still on the observer's own monotonic clock."""

    def __init__(self, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s = stale_s
        self._clock = clock
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}

    def is_stale(self, folder: TaskFolder, attempt: Attempt) -> bool:
        """Whether this attempt's heartbeat has not moved for `stale_s` while we looked."""
        now = self._clock()
        value = (attempt.number, attempt.pulse.beat if attempt.pulse else 0)
        seen = self._seen.get(folder.path)
        if seen is None or seen[0] != value:
            self._seen[folder.path] = (value, now)
            return False
        return now - seen[1] >= self._stale_s


def left_queue(folder: TaskFolder, held: Attempt, my_job: str) -> bool:
    """Whether the owner's Slurm job has left the queue; False where that cannot be told, and for our own job."""
    job = held.owner.job
    if not job or job == my_job or not _is_ours(folder, held):
        return False
    return _is_gone(job, int(time.monotonic() / _QUEUE_POLL_S))


def _is_ours(folder: TaskFolder, held: Attempt) -> bool:
    """Whether the owner is of our user: squeue is asked for our own jobs alone."""
    try:
        return folder.lease(held.number).stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


@lru_cache(maxsize=64)
def _is_gone(job: str, _period: int) -> bool:
    """One squeue per job and half minute, however often somebody waits for its lease."""
    slurm = scheduler.Slurm()
    if not slurm.available():
        return False
    try:
        rows = slurm.queue([job])
    except SchedulerError:
        return False
    return not any(job in row.ids.elements() and row.state_class.in_queue for row in rows)
