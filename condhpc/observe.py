"""What a run looks like now: one row per task, from its plan, hints, leases and the queue. Changes nothing.

An observer looks again and again. Only tasks that can have changed are judged again, and a row that is as before is the
same object as before.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import cast

import msgspec

from condhpc import accounts, lease, runs
from condhpc.findings import Row, Snapshot
from condhpc.hints import RECORDED, Hint
from condhpc.layout import Layout, RunFolder
from condhpc.live import Live, live
from condhpc.looks import Folders, Look
from condhpc.others import Others
from condhpc.outlook import Outlook
from condhpc.pools import Pools
from condhpc.progress import Progress
from condhpc.queue_view import Asker, Direct, Eye
from condhpc.queue_watch import QueueWatch
from condhpc.row_words import described, gave_up, head, is_over, outcome_of
from condhpc.run_view import Place, RunView
from condhpc.runs import PlanLine
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow
from condhpc.tally import Tally
from condhpc.task_state import BAD, Evidence, InQueue
from condhpc.turns import give_way

__all__ = ["Live", "Observer", "Progress", "Row", "Snapshot", "live", "snapshot"]

GRACE_S = 60.0
"""An element that left the queue, or was just submitted, may still be heard of for this long."""
_LOOKS_AT_ONCE = 400
"""Folders of tasks that may run that one snapshot looks at again, beside those that do run."""
_OPENED_AT_ONCE, _OPENING_S = 1_000, 0.5
"""Records of a run that is over that one snapshot opens to see whether they can be read: all of an ordinary run."""
_FOLLOWING = 4
"""Tasks behind one that ended in the plan that may have begun since: elements go in its order."""


class Observer:
    """Looks at one run again and again; what cannot have changed is not read again."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        slurm: Slurm | Asker | None,
        *,
        stale_s: float = 900.0,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`slurm` is None for a run on the local back-end; `stale_s` is the profile's `lease_stale_s`."""
        self.layout = layout
        self._asker = Direct(slurm, clock) if isinstance(slurm, Slurm) else slurm
        self._queue = QueueWatch(self._asker, clock, grace_s)
        self._clock = clock
        self._own = RunView(run)
        self._others = Others(layout, run.name)
        self._folders = Folders(layout)
        self._plan: list[PlanLine] = []
        self._index: dict[str, int] = {}
        self._dependants: dict[int, list[int]] = {}
        self._rows: list[Row | None] = []
        self._tally = Tally()
        self._hot: dict[int, None] = {}
        """What may change without anybody's word: it runs, may have begun, or is missed since a moment.

        Ordered: what was looked at is put at the end.
        """
        self._running: set[int] = set()
        self._recorded_of: list[str | None] = []
        """By place in the plan: submission of the word or look that told that it is recorded; None: nobody did."""
        self._recorded_s: list[float | None] = []
        """Time of that word."""
        self._looks: dict[str, Look] = {}
        self._eye = Eye(me=lease.myself(), now=clock(), stale_s=stale_s, queue=None)
        self._pools = Pools(grace_s)
        self._trust_hints = True
        self._unopened: list[int] | None = None
        """Records of a run that is over which only words vouch for, in random order; None: nobody opens any."""
        self._denied: set[int] = set()
        """Of these, those that cannot be read."""
        self._grace_s = grace_s
        self._ended: dict[str, float] = {}
        """Elements of a run of another user that are over, as its accounting tells, and when it was first seen to."""
        self._ended_before: frozenset[str] = frozenset()
        """Those that were over at the first look."""
        self._accounting_bytes = -1
        self._seen_s = clock()
        """When the run's folder was there last: what is told of it is as old as that."""
        self._over_budget = ""
        """Why the run's budget is used up; empty while it is not."""

    @property
    def positions(self) -> Mapping[str, int]:
        """Places in the plan by key; filled by the first snapshot."""
        return self._index

    def forget(self) -> None:
        """Look at every unrecorded task's folder again, whatever was found there before."""
        if self._asker is not None:
            self._asker.hurry()
        self._hot.update(dict.fromkeys(self._places_of(self._looks)))
        self._looks.clear()
        self._folders.forget()

    def distrust(self) -> None:
        """From now on records of a run that is over are opened, some at each look, whatever hints say of them."""
        self._unopened = []

    def snapshot(self, *, rescan: bool = False) -> Snapshot:
        """The run now. `rescan` trusts no hint and looks at every task's record."""
        all_again = rescan or not self._trust_hints or not self._plan
        self._trust_hints = not rescan
        if rescan:
            self._recorded_of = [None] * len(self._plan)
            self._looks.clear()
        if not self._plan:
            self._begin()
        self._own.refresh()
        self._others.refresh(self._own)
        changed = self._read_accounting() | self._heard() | self._queue_changes()
        changed |= self._pool_changes() | self._budget_changes()
        self._judge(range(len(self._plan)) if all_again else sorted(changed | self._due(changed)))
        if self._unopened is not None and self._trust_hints and self._tally.summary() != "running":
            self._judge(self._opened(self._unopened))
        return self._summed()

    def _opened(self, left: list[int]) -> list[int]:
        """Open some records; those that are not what words say, in the order of the plan."""
        if not left:
            left += [at for at, of in enumerate(self._recorded_of) if of is not None]
            random.shuffle(left)
        until_s = time.monotonic() + _OPENING_S
        for _ in range(min(_OPENED_AT_ONCE, len(left))):
            at = left.pop()
            if not self._folders.is_readable(self._plan[at]):
                self._denied.add(at)
                self._recorded_of[at] = None
            if time.monotonic() > until_s:
                break
        return sorted(at for at in self._denied if self._recorded_of[at] is None)

    def _begin(self) -> None:
        """Read the plan: who consumes what."""
        self._plan = runs.plan(self._own.run)
        self._rows = [None] * len(self._plan)
        self._recorded_of = [None] * len(self._plan)
        self._recorded_s = [None] * len(self._plan)
        self._others.wanted = [line.key for line in self._plan if not line.cached]
        for at, line in enumerate(self._plan):
            give_way()
            self._index[line.key] = at
            for key in line.inputs.values():
                source = self._index.get(key, at)
                if source < at:
                    self._dependants.setdefault(source, []).append(at)

    # -- which tasks may have changed -----------------------------------------------------------------------------

    def _views(self) -> Iterator[RunView]:
        yield self._own
        yield from self._others.views

    def _places_of(self, keys: Iterable[str]) -> set[int]:
        return {self._index[key] for key in keys if key in self._index}

    def _heard(self) -> set[int]:
        """Those that were sent, or that an element said something of."""
        return {at for view in self._views() for at in self._places_of(view.take_changed())}

    def _queue_changes(self) -> set[int]:
        """Tasks of elements that changed in the queue."""
        unfinished = [held for view in self._views() for held in view.unfinished()]
        packs = self._queue.ask(unfinished)
        eye = self._eye
        self._eye = msgspec.structs.replace(eye, now=self._clock(), queue=self._queue.queue, asked=self._queue.jobs)
        return {at for pack in packs for at in self._places_of(pack)}

    def _pool_changes(self) -> set[int]:
        """Tasks of local pools that began or ended."""
        held = [held for view in self._views() for held in view.submissions]
        packs = self._pools.refresh(held, self._eye.now, self._is_any_live)
        return {at for pack in packs for at in self._places_of(pack)}

    def _is_any_live(self, keys: Iterable[str]) -> bool:
        attempts = (self._folders.attempt(self._plan[at]) for at in sorted(self._places_of(keys)))
        return any(map(self._eye.is_live, attempts))

    def _budget_changes(self) -> set[int]:
        """All that is not recorded, where the budget was used up or raised."""
        before, self._over_budget = self._over_budget, runs.over_budget(self._own.run)
        if before == self._over_budget:
            return set()
        return {at for at, row in enumerate(self._rows) if row is not None and row.state != "recorded"}

    def _due(self, changed: set[int]) -> set[int]:
        """Those to look at although nothing was heard: what runs, what may follow one that ended, others in turn."""
        following = {at for ended in changed for at in range(ended + 1, ended + 1 + _FOLLOWING) if at in self._hot}
        return self._running | following | set(islice(self._hot, _LOOKS_AT_ONCE))

    # -- one task ------------------------------------------------------------------------------------------------

    def _judge(self, places: Sequence[int]) -> None:
        """New rows for these, in the order of the plan, and for what consumes one that went wrong or right."""
        known = places if isinstance(places, range) else set(places)
        more: list[int] = []
        for at in places:
            give_way()
            while more and more[0] < at:
                self._judge_one(heappop(more), known, more)
            self._judge_one(at, known, more)
        while more:
            self._judge_one(heappop(more), known, more)

    def _judge_one(self, at: int, known: set[int] | range, more: list[int]) -> None:
        before = self._rows[at]
        line = self._plan[at]
        place, hint = self._placed(line.key)
        row = self._row(at, line, place, hint)
        if before is not None and row == before:
            return
        self._rows[at] = row
        (self._running.add if row.state == "running" else self._running.discard)(at)
        self._tally.put(at, before, row, place.submission.intent.why if place is not None else "")
        if before is not None and (before.state in BAD) != (row.state in BAD):
            for other in self._dependants.get(at, ()):
                if isinstance(known, set) and other not in known:  # else its turn comes anyway
                    known.add(other)
                    heappush(more, other)

    def _row(self, at: int, line: PlanLine, place: Place | None, hint: Hint | None) -> Row:
        submission = place.name if place is not None else ""
        self._hot.pop(at, None)
        if self._is_known(at, line, submission, hint):
            return Row(**head(line), state="recorded", since_s=self._recorded_s[at])
        element, standing, queued, grace = self._whereabouts(place)
        is_known = self._asker is not None or place is None or place.is_local
        look = self._look(line, submission, hint, standing if is_known else None, grace=grace or not is_known)
        if look.recorded:
            self._recorded_of[at], self._recorded_s[at] = submission, None
            return Row(**head(line), state="recorded")
        attempt = look.attempt
        trouble = self._folders.trouble(line.key)
        is_open = attempt is not None and attempt.end is None
        has_just_ended = self._has_just_ended(element)
        if grace or is_open or ((standing == "active" or has_just_ended) and not is_over(hint)):
            self._hot[at] = None
        evidence = Evidence(
            leased_live=self._eye.is_live(attempt),
            queue=None if place is not None and gave_up(attempt, place, hint) else standing,
            outcome=outcome_of(attempt, hint),
            # Nobody accounts for local work: what a pool that is gone never began is as if it had not been sent.
            submitted=place is not None and (not place.is_local or attempt is not None or bool(trouble)),
            cancelled=place is not None and place.is_cancelled,
            bad_input=self._has_bad_input(at, line),
            over_budget=bool(self._over_budget) and (place is None or line.key in self._own.places),
            within_grace=grace,
        )
        row = described(line, evidence, attempt, element, queued, self._over_budget)
        return msgspec.structs.replace(row, detail=trouble) if trouble and row.state in BAD else row

    def _read_accounting(self) -> set[int]:
        """What its owner kept of it tells which elements of a run are over whose queue is not ours to ask.

        Tasks of those of which it says now that they are over, or that they come again.
        """
        if self._asker is not None:
            return set()
        try:
            size = self._own.run.accounting.stat().st_size
        except FileNotFoundError:
            size = 0
        except OSError:
            return set()
        if size == self._accounting_bytes:
            return set()
        over, now = accounts.over(self._own.run), self._clock()
        if self._accounting_bytes < 0:
            self._ended_before = frozenset(over)
        changed = self._ended.keys() ^ over
        self._accounting_bytes = size
        self._ended = {element: self._ended.get(element, now) for element in over}
        self._ended_before &= over  # what came again ends before our eyes
        return self._places_in(changed) if changed else set()

    def _places_in(self, elements: Collection[str]) -> set[int]:
        return {
            at
            for held in self._own.submissions
            if held.reply is not None
            for index, pack in enumerate(held.intent.elements)
            if f"{held.reply.job}_{index}" in elements
            for at in self._places_of(pack)
        }

    def _has_just_ended(self, element: str) -> bool:
        """By the accounting, which may be quicker than the file system that shows the record."""
        return element in self._ended and self._eye.now - self._ended[element] < self._grace_s

    def _whereabouts(self, place: Place | None) -> tuple[str, InQueue | None, QueueRow | None, bool]:
        """Id, standing and row of an element, and whether it may still be heard of."""
        if place is None:
            return "", None, None, False
        if place.is_local:
            return "", self._pools.standing[place.name], None, False
        element = self._queue.element(place)
        if element in self._ended:
            return element, None, None, element not in self._ended_before and self._has_just_ended(element)
        standing, row = self._queue.standing(place, element)
        return element, standing, row, self._queue.within_grace(place, element, row, self._eye.now)

    def _has_bad_input(self, at: int, line: PlanLine) -> bool:
        for key in line.inputs.values():
            source = self._index.get(key, at)
            row = self._rows[source] if source < at else None
            if row is not None and row.state in BAD:
                return True
        return False

    def _placed(self, key: str) -> tuple[Place | None, Hint | None]:
        view = self._own
        place = view.places.get(key)
        for other in self._others.views if place is None else ():
            view, place = other, other.places.get(key)
            if place is not None:
                break
        return place, None if place is None else view.hints.of(place.name, key)

    def _is_known(self, at: int, line: PlanLine, submission: str, hint: Hint | None) -> bool:
        """Whether it is recorded, as far as the plan, hints of its newest element and earlier looks tell."""
        if self._recorded_of[at] == submission:
            return True
        if not self._trust_hints:
            return False
        if at in self._denied:
            return False
        if hint is not None and hint.result in RECORDED:
            self._recorded_of[at], self._recorded_s[at] = submission, hint.time
        elif line.cached and not submission:
            self._recorded_of[at], self._recorded_s[at] = "", None
        else:
            return False
        return True

    def _look(
        self, line: PlanLine, submission: str, hint: Hint | None, standing: InQueue | None, *, grace: bool
    ) -> Look:
        """The task's folder: not for what waits or was never sent, each time for what may yet change, else once."""
        over = is_over(hint)
        if self._trust_hints and not over and (standing == "waiting" or not submission):
            return Look(submission, hint, recorded=False, attempt=None)
        held = self._looks.get(line.key)
        active = standing == "active" and not over
        if held is not None and not active and (held.submission, held.hint) == (submission, hint):
            return held
        recorded = not (active and self._trust_hints) and self._folders.is_recorded(line)
        attempt = None if recorded else self._folders.attempt(line)
        found = Look(submission, hint, recorded=recorded, attempt=attempt)
        goes_on = attempt is not None and attempt.end is None  # whatever the queue says, or where it is not ours
        if not active and (over or not (grace or goes_on)):
            self._looks[line.key] = found
        return found

    # -- all of them ---------------------------------------------------------------------------------------------

    def _gone(self) -> Iterator[str]:
        """A run that was moved away changes no more, and would look as if nothing happened."""
        path = self._own.run.path
        if os.path.isdir(path):  # noqa: PTH112 - Path's raises where a server says that its handle is stale
            self._seen_s = self._eye.now
        else:
            yield f"the run's folder is gone or cannot be read; shown is what was read before; expected at {path}"

    def _summed(self) -> Snapshot:
        rows = cast("list[Row]", self._rows.copy())  # all of them are judged by now
        name = self._own.run.name
        problems = list(self._gone())
        problems += [f"the queue could not be asked: {self._queue.error}"] if self._queue.error else []
        problems += [problem for view in self._views() for problem in view.hints.problems()]
        problems += [*self._others.problems(), *self._folders.problems()]
        return Snapshot(
            run=name,
            state=self._tally.summary(),
            taken_s=round(self._seen_s, 3),
            queue_s=self._queue.asked_s,
            queue_error=self._queue.error,
            counts=self._tally.counts(),
            rows=rows,
            problems=problems + self._tally.problems(rows, name),
            raised=self._tally.raised(),
            outlook=Outlook() if self._asker is None else Outlook(calls=self._asker.calls()),
        )


def snapshot(
    run: RunFolder, layout: Layout, slurm: Slurm | Asker | None, *, rescan: bool = False, stale_s: float = 900.0
) -> Snapshot:
    """One look at a run."""
    return Observer(run, layout, slurm, stale_s=stale_s).snapshot(rescan=rescan)
