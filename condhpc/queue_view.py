"""Who may still be working: Slurm's queue by element, and owners of leases by their process or heartbeat."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from condhpc import lease
from condhpc.lease import Attempt, Owner
from condhpc.runs import Reply
from condhpc.slurm_text import QueueRow, StateClass
from condhpc.task_state import InQueue

_STUCK = frozenset({StateClass.HELD, StateClass.BLOCKED})


class Queue:
    """Rows of one squeue call by element id (`608_3`)."""

    def __init__(self, rows: Iterable[QueueRow]) -> None:
        self._by_element: dict[str, QueueRow] = {}
        self._cut: dict[str, QueueRow] = {}
        self.parent_of: dict[str, str] = {}
        """Job name to array id."""
        for row in rows:
            self.parent_of[row.name] = row.ids.parent
            if row.ids.unknown_tail:
                self._cut[row.ids.parent] = row
            for element in row.ids.elements():
                known = self._by_element.get(element)
                if known is None or not known.state_class.in_queue:
                    self._by_element[element] = row

    def row(self, element: str) -> QueueRow | None:
        """The row of an element; of a set that Slurm cut off, for one that no other row names."""
        return self._by_element.get(element) or self._cut.get(element.partition("_")[0])

    def standing(self, element: str) -> InQueue | None:
        """Where an element is; None for one that has ended or that squeue does not show."""
        row = self.row(element)
        if row is None or not row.state_class.in_queue:
            return None
        if row.state_class in _STUCK:
            return "stuck"
        return "waiting" if row.state_class is StateClass.WAITING else "active"


class Eye(msgspec.Struct, frozen=True, kw_only=True):
    """From where and when leases are looked at."""

    me: Owner
    now: float
    stale_s: float
    """A heartbeat older than this, by the clock on the wall, is no sign of life."""
    queue: Queue | None
    """None: the queue is not known."""
    asked: frozenset[str] = frozenset()
    """Arrays that the queue was asked for."""

    def is_live(self, attempt: Attempt | None) -> bool:
        """Whether an attempt goes on: its element is active, or its process lives, or its heartbeat is fresh."""
        if attempt is None or attempt.end is not None:
            return False
        owner = attempt.owner
        if self.queue is not None and owner.job and owner.job.partition("_")[0] in self.asked:
            return self.queue.standing(owner.job) == "active"
        if (owner.host, owner.machine) == (self.me.host, self.me.machine) and owner.boot and owner.pid_start:
            return not lease.provably_gone(owner, self.me)
        beat = attempt.pulse.time if attempt.pulse is not None else owner.started
        return self.now - beat < self.stale_s


def pool_is_alive(reply: Reply) -> bool | None:
    """Whether a worker of a local pool still runs; None where only its own host can tell."""
    if reply.host != os.uname().nodename:
        return None
    return any(lease.process_start(int(pid)) == start for pid, start in reply.pids.items())
