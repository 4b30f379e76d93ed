"""Slurm as watchers ask it: seldom, all of a user together, in a thread, and never so that a screen stands still."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from condhpc import slurm_cache
from condhpc.errors import SchedulerError
from condhpc.outlook import SlurmCalls
from condhpc.queue_view import Answer
from condhpc.scheduler import Slurm, only
from condhpc.slurm_cache import Cache
from condhpc.slurm_text import QueueRow

HURRY_S = 5.0
"""Refreshing by hand more often asks nobody."""
SACCT_PER_SQUEUE = 4.0
"""The accounting is asked that much less often than the queue: every 120 s where `poll_s` is 30."""
PATIENCE_S = 2.0
"""How long a look waits for a new answer before it goes on with the old one."""
_WAIT_S = 0.05


def cache_of_user(clock: Callable[[], float] = time.time) -> Cache:
    """The cache that all watchers of this user share."""
    return Cache(slurm_cache.folder(os.environ), clock)


@dataclass(frozen=True)
class Asking:
    """How often one who looks asks, and how long it waits for the answer."""

    poll_s: float
    patience_s: float = PATIENCE_S
    backs_off: bool = True
    """False for a single look: an answer older than `poll_s` does not do for it."""


class SharedQueue:
    """The queue from the shared cache; asks anew, in a thread, where nobody did for an interval.

    It asks only when it is asked itself: watchers at whose keyboard nobody is do not look.
    """

    def __init__(self, slurm: Slurm, cache: Cache, asking: Asking) -> None:
        """Its clock is the cache's."""
        self._slurm = slurm
        self._cache = cache
        self._by = asking
        self._clock = cache.clock
        self._hurry = False
        self._thread: threading.Thread | None = None

    def hurry(self) -> None:
        """Somebody wants to know now: the next look asks, unless somebody did within seconds."""
        self._hurry = True

    def answer(self, jobs: Sequence[str] | None, newest_s: float) -> Answer:
        """The newest rows of this user, whichever arrays are asked for; waits a little where new ones are due."""
        del jobs  # one question for all runs
        known = self._cache.newest()
        backs_off = self._by.backs_off and not self._hurry and (known is None or known.asked_s > newest_s)
        least_s = min(HURRY_S, self._by.poll_s) if self._hurry else self._by.poll_s
        calls = self._cache.state().squeue
        if not self._asking and calls.is_due(self._clock(), least_s, backs_off=backs_off):
            self._thread = threading.Thread(target=self._ask, args=(least_s, backs_off), name="squeue", daemon=True)
            self._thread.start()
        self._hurry = False
        self._wait()
        return self._answer()

    @property
    def _asking(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _ask(self, least_s: float, backs_off: bool) -> None:  # noqa: FBT001 - a thread's arguments
        if not self._cache.claim("squeue", least_s, backs_off=backs_off):
            return
        asked_s = self._clock()
        try:
            rows = self._slurm.queue()
        except SchedulerError as error:
            self._cache.failed(str(error))
        else:
            self._cache.answered(asked_s, rows)

    def _wait(self) -> None:
        """For our own thread, or for another process that asks at this moment."""
        deadline = time.monotonic() + self._by.patience_s
        while time.monotonic() < deadline:
            if self._thread is not None and self._thread.is_alive():
                self._thread.join(max(0.0, deadline - time.monotonic()))
            elif self._cache.state().squeue.in_flight(self._clock(), self._slurm.timeout_s):
                time.sleep(_WAIT_S)
            else:
                return

    def _answer(self) -> Answer:
        calls = self._cache.state().squeue
        known = self._cache.newest()
        error = calls.error
        now = self._clock()
        if not error and calls.in_flight(now, self._slurm.timeout_s):
            error = f"squeue has not answered for {now - calls.tried_s:.0f} s"
        if known is None:
            return Answer(rows=None, asked_s=None, error=error or "nobody has asked it yet")
        return Answer(rows=known.rows, asked_s=known.asked_s, error=error)

    def calls(self) -> SlurmCalls:
        """What all watchers of this user asked in the last hour."""
        state = self._cache.state()
        now = self._clock()
        every_s = state.squeue.every_s(self._by.poll_s)
        return SlurmCalls(
            squeue_last_h=sum(now - then < 3600.0 for then in state.squeue.last_h),
            sacct_last_h=sum(now - then < 3600.0 for then in state.sacct.last_h),
            squeue_every_s=round(every_s, 1),
            sacct_every_s=SACCT_PER_SQUEUE * self._by.poll_s,
            next_s=round(state.squeue.tried_s + every_s, 3),
        )


class SharedSlurm(Slurm):
    """For what a watcher does beside looking, such as keeping to a budget: asks within the same limits.

    After it changed something itself (held, cancelled) it asks anew: old rows would make it do so twice.
    """

    def __init__(self, cache: Cache, poll_s: float, timeout_s: float = 60.0) -> None:
        """Its clock is the cache's."""
        super().__init__(timeout_s)
        self._cache = cache
        self._poll_s = poll_s
        self._clock = cache.clock
        self._changed_s = 0.0

    def queue(self, jobs: Iterable[str] | None = None, names: Iterable[str] | None = None) -> list[QueueRow]:
        """From the cache where that is fresh enough; else asked, and kept there for all."""
        known = self._cache.newest()
        now = self._clock()
        if known is None or now - known.asked_s > self._poll_s or known.asked_s <= self._changed_s:
            self._cache.note("squeue")
            try:
                rows = super().queue()
            except SchedulerError as error:
                self._cache.failed(str(error))
                raise
            self._cache.answered(now, rows)
        else:
            rows = known.rows
        return only(rows, jobs, names)

    def may_ask_history(self) -> bool:
        """Whether no watcher of this user asked the accounting for long enough; then it counts as asked."""
        return self._cache.claim("sacct", SACCT_PER_SQUEUE * self._poll_s)

    def cancel(self, ids: Iterable[str]) -> None:
        """As it is; what the cache holds is out of date by then."""
        super().cancel(ids)
        self._changed_s = self._clock()

    def hold(self, jobs: Iterable[str]) -> None:
        """As it is; what the cache holds is out of date by then."""
        super().hold(jobs)
        self._changed_s = self._clock()

    def release(self, jobs: Iterable[str]) -> None:
        """As it is; what the cache holds is out of date by then."""
        super().release(jobs)
        self._changed_s = self._clock()
