"""What a run looks like now: one row per task, from its plan, hints, leases and one squeue call. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from condhpc import findings, lease, runs, store
from condhpc.errors import CorruptArtefactError, SchedulerError
from condhpc.findings import Row, Snapshot
from condhpc.hints import RECORDED, Hint
from condhpc.layout import Layout, RunFolder
from condhpc.lease import Attempt, Outcome
from condhpc.live import Live, live
from condhpc.progress import Progress
from condhpc.queue_view import Eye, Queue, pool_is_alive
from condhpc.run_view import Place, RunView
from condhpc.runs import PlanLine, Submission
from condhpc.scheduler import Slurm
from condhpc.task_state import BAD, Evidence, InQueue, State, state_of

__all__ = ["Live", "Observer", "Progress", "Row", "Snapshot", "live", "snapshot"]

GRACE_S = 60.0
"""How long an element may be missing from squeue before its tasks count as lost."""
"""An element that left the queue, or was just submitted, may still be heard of for this long."""


class _Look(msgspec.Struct, frozen=True):
    """What a task's folder said, and what was known when it was asked."""

    submission: str
    hint: Hint | None
    recorded: bool
    attempt: Attempt | None


class Observer:
    """Looks at one run again and again; what cannot have changed is not read again."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        slurm: Slurm | None,
        *,
        stale_s: float = 900.0,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`slurm` is None for a run on the local back-end; `stale_s` is the profile's `lease_stale_s`."""
        self.layout = layout
        self._slurm = slurm
        self._clock = clock
        self._grace_s = grace_s
        self._own = RunView(run)
        self._others: dict[str, RunView] = {}
        self._plan: list[PlanLine] = []
        self._recorded: dict[str, tuple[str, float | None]] = {}
        """Key to (submission, time) of the word or look that told so."""
        self._looks: dict[str, _Look] = {}
        self._corrupt: dict[str, str] = {}
        self._last_seen: dict[str, float] = {}
        """Element to the last time that squeue showed it in the queue."""
        self._queue_s: float | None = None
        self._queue_error = ""
        self._eye = Eye(me=lease.myself(), now=clock(), stale_s=stale_s, queue=None)
        self._trust_hints = True
        self._over_budget = ""
        """Why the run's budget is used up; empty while it is not."""

    def forget(self) -> None:
        """Look at every unrecorded task's folder again, whatever was found there before."""
        self._looks.clear()

    def snapshot(self, *, rescan: bool = False) -> Snapshot:
        """The run now. `rescan` trusts no hint and looks at every task's record."""
        self._trust_hints = not rescan
        if rescan:
            self._recorded.clear()
            self._looks.clear()
        self._plan = self._plan or runs.plan(self._own.run)
        self._own.refresh()
        self._refresh_others()
        self._ask_queue()
        self._eye = msgspec.structs.replace(self._eye, now=self._clock())
        self._over_budget = runs.over_budget(self._own.run)
        pools = {held.intent.name: self._pool(held) for view in self._views() for held in view.submissions}
        rows: dict[str, Row] = {}
        for line in self._plan:
            rows[line.key] = self._row(line, rows, pools)
        return self._summed(list(rows.values()))

    # -- what is known of all ------------------------------------------------------------------------------------

    def _views(self) -> Iterator[RunView]:
        yield self._own
        yield from self._others.values()

    def _refresh_others(self) -> None:
        """Other runs matter where they compute what this run did not have to send."""
        missing = {p.key for p in self._plan if not p.cached} - self._own.places.keys() - self._recorded.keys()
        for name in self.layout.run_names() if missing else ():
            if name != self._own.run.name:
                view = self._others.setdefault(name, RunView(self.layout.run(name), only=missing))
                view.refresh()

    def _ask_queue(self) -> None:
        """One call for all arrays that have unrecorded tasks; a failure leaves the old answer in force."""
        unfinished = [s for view in self._views() for s in view.unfinished() if s.intent.backend == "slurm"]
        if self._slurm is None or not unfinished:
            return
        jobs = {held.reply.job for held in unfinished if held.reply is not None}
        # A submission without a reply is known by its name only: then all rows of this user are wanted.
        wanted = None if any(held.reply is None for held in unfinished) else sorted(jobs)
        try:
            queue = Queue(self._slurm.queue(wanted))
        except SchedulerError as error:
            self._queue_error = str(error)
            self._eye = msgspec.structs.replace(self._eye, asked=frozenset())  # now heartbeats tell more
            return
        self._queue_s, self._queue_error = self._clock(), ""
        self._eye = msgspec.structs.replace(self._eye, queue=queue, asked=frozenset(jobs))

    def _pool(self, held: Submission) -> InQueue | None:
        """Whether a local pool may still work; on another host its tasks' heartbeats tell."""
        if held.intent.backend != "local":
            return None
        if held.reply is None:
            return "active" if self._eye.now - held.intent.time < self._grace_s else None
        alive = pool_is_alive(held.reply)
        if alive is None:
            mine = {key for pack in held.intent.elements for key in pack}
            alive = any(self._eye.is_live(self._attempt(line)) for line in self._plan if line.key in mine)
        return "active" if alive else None

    # -- one task ------------------------------------------------------------------------------------------------

    def _row(self, line: PlanLine, before: dict[str, Row], pools: dict[str, InQueue | None]) -> Row:
        place, hint = self._placed(line.key)
        submission = place.name if place is not None else ""
        if self._is_known(line, submission, hint):
            return Row(**_head(line), state="recorded", since_s=self._recorded[line.key][1])
        element = self._element(place)
        standing = self._standing(place, element, pools)
        grace = self._within_grace(place, element)
        look = self._look(line, submission, hint, standing, grace=grace)
        if look.recorded:
            self._recorded[line.key] = (submission, None)
            return Row(**_head(line), state="recorded")
        attempt = look.attempt
        evidence = Evidence(
            leased_live=self._eye.is_live(attempt),
            queue=None if place is not None and _gave_up(attempt, place) else standing,
            outcome=_outcome(attempt, hint),
            # Nobody accounts for local work: what a pool that is gone never began is as if it had not been sent.
            submitted=place is not None and (not place.is_local or attempt is not None),
            cancelled=place is not None and place.is_cancelled,
            bad_input=any(before[key].state in BAD for key in line.inputs.values() if key in before),
            over_budget=bool(self._over_budget) and (place is None or line.key in self._own.places),
            within_grace=grace,
        )
        return self._described(line, evidence, attempt, element)

    def _placed(self, key: str) -> tuple[Place | None, Hint | None]:
        for view in self._views():
            if (place := view.places.get(key)) is not None:
                return place, view.hints.of(place.name, key)
        return None, None

    def _is_known(self, line: PlanLine, submission: str, hint: Hint | None) -> bool:
        """Whether it is recorded, as far as the plan, hints of its newest element and earlier looks tell."""
        known = self._recorded.get(line.key)
        if known is not None and known[0] == submission:
            return True
        if not self._trust_hints:
            return False
        if hint is not None and hint.result in RECORDED:
            self._recorded[line.key] = (submission, hint.time)
        elif line.cached and not submission:
            self._recorded[line.key] = ("", None)
        else:
            return False
        return True

    def _element(self, place: Place | None) -> str:
        """The element's id; empty without a place, for local work and while a reply is missing."""
        if place is None or place.is_local:
            return ""
        reply = place.submission.reply
        queue = self._eye.queue
        job = reply.job if reply is not None else queue.parent_of.get(place.name, "") if queue is not None else ""
        return f"{job}_{place.index}" if job else ""

    def _standing(self, place: Place | None, element: str, pools: dict[str, InQueue | None]) -> InQueue | None:
        if place is None:
            return None
        if place.is_local:
            return pools[place.name]
        queue = self._eye.queue
        if queue is None or (self._queue_error and place.sent > (self._queue_s or 0.0)):
            return "active"  # nobody can tell: not a reason to call it lost
        standing = queue.standing(element) if element else None
        if standing is not None and not self._queue_error:
            self._last_seen[element] = self._eye.now
        return standing

    def _within_grace(self, place: Place | None, element: str) -> bool:
        if place is None or place.is_local:
            return False
        row = self._eye.queue.row(element) if self._eye.queue is not None and element else None
        ended = float(row.end_s) if row is not None and row.end_s is not None else 0.0
        last = max(place.sent, self._last_seen.get(element, 0.0), ended if ended <= self._eye.now else 0.0)
        return self._eye.now - last < self._grace_s

    def _look(
        self, line: PlanLine, submission: str, hint: Hint | None, standing: InQueue | None, *, grace: bool
    ) -> _Look:
        """The task's folder: not for what waits or was never sent, each time for what may yet change, else once."""
        over = hint is not None and hint.result in {"failed", "blocked"}
        if self._trust_hints and not over and (standing == "waiting" or not submission):
            return _Look(submission, hint, recorded=False, attempt=None)
        held = self._looks.get(line.key)
        active = standing == "active" and not over
        if held is not None and not active and (held.submission, held.hint) == (submission, hint):
            return held
        recorded = not (active and self._trust_hints) and self._is_recorded(line)
        found = _Look(submission, hint, recorded=recorded, attempt=None if recorded else self._attempt(line))
        if not active and (over or not grace):
            self._looks[line.key] = found
        return found

    def _is_recorded(self, line: PlanLine) -> bool:
        self._corrupt.pop(line.key, None)
        try:
            return store.is_recorded(self.layout.task(line.stage, line.key))
        except CorruptArtefactError as error:
            self._corrupt[line.key] = str(error)
            return False

    def _attempt(self, line: PlanLine) -> Attempt | None:
        folder = self.layout.task(line.stage, line.key)
        return lease.read_attempt(folder, lease.latest_number(folder))

    # -- in words ------------------------------------------------------------------------------------------------

    def _described(self, line: PlanLine, seen: Evidence, attempt: Attempt | None, element: str) -> Row:
        state = state_of(seen)
        pulse = attempt.pulse if attempt is not None else None
        running = state == "running"
        since = None
        if attempt is not None:
            since = attempt.end.time if attempt.end is not None else attempt.owner.started
        return Row(
            **_head(line),
            state=state,
            detail=self._detail(state, seen, attempt, element),
            step=pulse.step if running and pulse is not None else 0,
            total=pulse.total if running and pulse is not None else 0,
            values=pulse.values if running and pulse is not None else {},
            element=element,
            attempts=attempt.number if attempt is not None else None,
            since_s=since,
            host=attempt.owner.host if attempt is not None else "",
        )

    def _detail(self, state: State, seen: Evidence, attempt: Attempt | None, element: str) -> str:
        reason = last_line(attempt.end.reason) if attempt is not None and attempt.end is not None else ""
        row = self._eye.queue.row(element) if self._eye.queue is not None and element else None
        if state == "over_budget":
            return self._over_budget
        if state == "queued":
            return row.reason if row is not None and seen.queue == "waiting" else ""
        if state == "blocked" and seen.outcome is None:
            if seen.queue == "stuck" and row is not None:
                return f"element {element} cannot start: {row.reason}"
            return "its element was killed: an input failed"
        if state == "lost":
            began = "left the queue without a record" if element else "the worker died"
            return f"element {element} ended as {row.state}" if row is not None else began
        if state == "new" and not reason:
            return "cancelled" if seen.cancelled else ""
        return reason

    def _summed(self, rows: list[Row]) -> Snapshot:
        problems = [f"the queue could not be asked: {self._queue_error}"] if self._queue_error else []
        problems += [
            f"{name}: holds lines that are no hints; `condhpc status --rescan` does without"
            for view in self._views()
            for name in sorted(view.hints.unreadable)
        ]
        problems += self._corrupt.values()
        return Snapshot(
            run=self._own.run.name,
            state=findings.summary(rows),
            taken_s=round(self._eye.now, 3),
            queue_s=self._queue_s,
            queue_error=self._queue_error,
            counts=findings.counted(rows),
            rows=rows,
            problems=problems + findings.task_problems(rows, self._own.run.name),
            raised=findings.raised(rows, {k: p.submission.intent.why for k, p in self._own.places.items()}),
        )


def _outcome(attempt: Attempt | None, hint: Hint | None) -> Outcome | None:
    """How it ended last. Of a task that an element left before it began, only a hint tells."""
    if hint is not None and (hint.result == "over_budget" or (hint.result == "stopped" and attempt is None)):
        return "stopped"
    return attempt.end.outcome if attempt is not None and attempt.end is not None else None


def _gave_up(attempt: Attempt | None, place: Place) -> bool:
    """Whether an element failed at this task: it goes on with the rest of its pack and does not try it again."""
    if attempt is None or attempt.end is None or attempt.end.outcome not in {"failed", "blocked"}:
        return False
    return attempt.end.time >= place.submission.intent.time


def _head(line: PlanLine) -> dict[str, Any]:
    return {"key": line.key, "stage": line.stage, "label": line.label}


def last_line(text: str) -> str:
    """The line of a traceback or message that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def snapshot(
    run: RunFolder, layout: Layout, slurm: Slurm | None, *, rescan: bool = False, stale_s: float = 900.0
) -> Snapshot:
    """One look at a run."""
    return Observer(run, layout, slurm, stale_s=stale_s).snapshot(rescan=rescan)
