"""Whether the owner of a lease is gone, as far as the queue can tell."""

from __future__ import annotations

import os
import time
from functools import lru_cache

from condhpc import scheduler
from condhpc.errors import SchedulerError
from condhpc.layout import TaskFolder
from condhpc.lease import Attempt

_QUEUE_POLL_S = 30.0


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
