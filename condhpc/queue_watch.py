"""The queue as an observer follows it: which elements changed, where each one is, and how long it has been missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from condhpc.queue_view import Answer, Asker, Queue, standing_of
from condhpc.run_view import Place
from condhpc.runs import Submission
from condhpc.slurm_text import QueueRow
from condhpc.task_state import InQueue


class QueueWatch:
    """Keeps the newest answer on the queue; a failure leaves the old one in force."""

    def __init__(self, asker: Asker | None, clock: Callable[[], float], grace_s: float) -> None:
        """`grace_s`: how long an element that left the queue, or was just sent, may still be heard of."""
        self._asker = asker
        self._clock = clock
        self._grace_s = grace_s
        self._last_seen: dict[str, float] = {}
        """Element that left the queue to the last time that squeue showed it there."""
        self._sound_s: float | None = None
        """The last time that the queue in force was the newest answer."""
        self._rows: list[QueueRow] | None = None
        self.queue: Queue | None = None
        self.asked_s: float | None = None
        """When it was asked for, epoch seconds."""
        self.error = ""
        self.jobs: frozenset[str] = frozenset()
        """Arrays that it can be trusted on: after a failure heartbeats tell more than old rows."""

    def ask(self, submissions: Sequence[Submission]) -> list[Sequence[str]]:
        """One question for all of these that have unrecorded tasks; packs of the elements that changed."""
        unfinished = [held for held in submissions if held.intent.backend == "slurm"]
        if self._asker is None or not unfinished:
            self.error = ""  # nothing rests on the queue any more: that it was silent once is no news
            return []
        jobs = {held.reply.job for held in unfinished if held.reply is not None}
        # A submission without a reply is known by its name only: then all rows of this user are wanted.
        wanted = None if any(held.reply is None for held in unfinished) else sorted(jobs)
        answer = self._asker.answer(wanted, max((held.reply or held.intent).time for held in unfinished))
        self.jobs = frozenset() if answer.error else frozenset(jobs)
        changed = self._take(answer, unfinished)
        self.asked_s, self.error = answer.asked_s, answer.error
        if not answer.error:
            self._sound_s = self._clock()
        return changed

    def _take(self, answer: Answer, submissions: Iterable[Submission]) -> list[Sequence[str]]:
        before = self.queue
        if answer.rows is None or answer.rows is self._rows:
            return []
        self._rows = answer.rows
        queue = self.queue = Queue(answer.rows)
        elements = None if before is None else queue.changed_since(before)
        changed: list[Sequence[str]] = []
        for held in submissions:
            packs = held.intent.elements
            job = held.reply.job if held.reply is not None else queue.parent_of.get(held.intent.name, "")
            # Without a reply its elements have no ids yet that could have changed.
            some = None if elements is None or held.reply is None else elements.get(job, set())
            for index in range(len(packs)) if some is None else [i for i in some if i < len(packs)]:
                changed.append(packs[index])
                if before is not None and self._sound_s is not None and before.standing(f"{job}_{index}") is not None:
                    self._last_seen[f"{job}_{index}"] = self._sound_s
        return changed

    def element(self, place: Place | None) -> str:
        """The element's id; empty without a place, for local work and while a reply is missing."""
        if place is None or place.is_local:
            return ""
        reply = place.submission.reply
        if reply is not None:
            return f"{reply.job}_{place.index}" if reply.job else ""
        job = self.queue.parent_of.get(place.name, "") if self.queue is not None else ""
        return f"{job}_{place.index}" if job else ""

    def row(self, element: str) -> QueueRow | None:
        """Its row in squeue."""
        return self.queue.row(element) if self.queue is not None and element else None

    def standing(self, place: Place, element: str) -> tuple[InQueue | None, QueueRow | None]:
        """Where an element is, and its row; `active` where nobody can tell: that is no reason to call it lost."""
        row = self.row(element)
        if self.queue is None or place.sent > (self.asked_s or 0.0):
            return "active", row
        return standing_of(row), row

    def within_grace(self, place: Place, element: str, row: QueueRow | None, now: float) -> bool:
        """Whether it was sent or left the queue so recently that it may still be heard of."""
        ended = float(row.end_s) if row is not None and row.end_s is not None else 0.0
        last = max(place.sent, self._last_seen.get(element, 0.0), ended if ended <= now else 0.0)
        return now - last < self._grace_s
