"""Who may still be working: Slurm's queue by element, and owners of leases by their process or heartbeat."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from condhpc import lease
from condhpc.errors import SchedulerError
from condhpc.lease import Attempt, Owner
from condhpc.outlook import SlurmCalls
from condhpc.runs import Reply
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow, StateClass
from condhpc.task_state import InQueue

_STUCK = frozenset({StateClass.HELD, StateClass.BLOCKED})


class Queue:
    """Rows of one squeue call by element id (`608_3`)."""

    def __init__(self, rows: Iterable[QueueRow]) -> None:
        self._single: dict[str, QueueRow] = {}
        self._sets: dict[str, list[tuple[frozenset[int], QueueRow]]] = defaultdict(list)
        """Array to the elements of one row: a waiting array is one row, however large it is."""
        self._cut: dict[str, QueueRow] = {}
        self._alike: dict[tuple[str, str, str, int | None], set[int]] = defaultdict(set)
        """Array, state, reason, end to the elements that are so."""
        self.parent_of: dict[str, str] = {}
        """Job name to array id."""
        for row in rows:
            self._add(row)

    def _add(self, row: QueueRow) -> None:
        ids = row.ids
        self.parent_of[row.name] = ids.parent
        if ids.unknown_tail:
            self._cut[ids.parent] = row
        if ids.indices is not None and len(ids.indices) > 1:
            self._sets[ids.parent].append((frozenset(ids.indices), row))
        else:
            for element in ids.elements():
                known = self._single.get(element)
                if known is None or not known.state_class.in_queue:
                    self._single[element] = row
        end_s = None if row.state_class.in_queue else row.end_s
        self._alike[ids.parent, row.state, row.reason, end_s].update(ids.indices or ())

    def row(self, element: str) -> QueueRow | None:
        """The row of an element; of a set that Slurm cut off, for one that no other row names."""
        single = self._single.get(element)
        if single is not None and single.state_class.in_queue:
            return single
        parent, _, index = element.partition("_")
        for indices, row in self._sets.get(parent, ()) if index.isdigit() else ():
            if int(index) in indices and (single is None or row.state_class.in_queue):
                return row
        return single or self._cut.get(parent)

    def standing(self, element: str) -> InQueue | None:
        """Where an element is; None for one that has ended or that squeue does not show."""
        return standing_of(self.row(element))

    def changed_since(self, before: Queue) -> dict[str, set[int] | None]:
        """Array to its elements whose state, reason or end is another one; None: any of them may be."""
        found: dict[str, set[int] | None] = {}
        nothing: set[int] = set()
        for key in self._alike.keys() | before._alike.keys():
            others = self._alike.get(key, nothing) ^ before._alike.get(key, nothing)
            known = found.setdefault(key[0], set()) if others else None
            if known is not None:
                known |= others
        for parent in self._cut.keys() | before._cut.keys():
            now, then = self._cut.get(parent), before._cut.get(parent)
            if now is None or then is None or (now.state, now.reason) != (then.state, then.reason):
                found[parent] = None
        return found


def standing_of(row: QueueRow | None) -> InQueue | None:
    """Where the element of a row is; None for one that has ended, and without a row."""
    if row is None:
        return None
    found = row.state_class
    if found is StateClass.WAITING:
        return "waiting"
    if not found.in_queue:
        return None
    return "stuck" if found in _STUCK else "active"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the queue."""

    rows: list[QueueRow] | None
    """None: it never answered. The same list as long as the answer is the same."""
    asked_s: float | None
    """When squeue was called for these rows, epoch seconds: what was sent later is not among them."""
    error: str = ""
    """Why the latest call failed; empty after an answer."""


class Asker(Protocol):
    """Where the queue is known from."""

    def answer(self, jobs: Sequence[str] | None, newest_s: float) -> Answer:
        """Rows of these arrays (None: all of this user), of which the newest was sent at that time."""

    def calls(self) -> SlurmCalls:
        """How often Slurm was asked."""

    def hurry(self) -> None:
        """Somebody wants to know now."""


class Direct:
    """One squeue call for each question."""

    def __init__(self, slurm: Slurm, clock: Callable[[], float]) -> None:
        self._slurm = slurm
        self._clock = clock
        self._rows: list[QueueRow] | None = None
        self._asked_s: float | None = None

    def answer(self, jobs: Sequence[str] | None, newest_s: float) -> Answer:
        """Ask now; after a failure the old rows with the reason."""
        del newest_s
        asked_s = self._clock()
        try:
            self._rows = self._slurm.queue(jobs)
        except SchedulerError as error:
            return Answer(rows=self._rows, asked_s=self._asked_s, error=str(error))
        self._asked_s = asked_s
        return Answer(rows=self._rows, asked_s=asked_s)

    def calls(self) -> SlurmCalls:
        """Nobody counts single looks."""
        return SlurmCalls()

    def hurry(self) -> None:
        """Each look asks anyway."""


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
