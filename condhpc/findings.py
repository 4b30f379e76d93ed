"""What a look at a run found: one row per task, counts, and in a few lines what needs a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import compress, count
from operator import is_not
from typing import Literal

import msgspec

from condhpc.outlook import Outlook
from condhpc.planned import Label
from condhpc.spec import STAGES, Stage
from condhpc.task_state import BAD, MOVING, STATES, State

Summary = Literal["running", "done", "failed", "stopped"]


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One task of a run."""

    key: str
    stage: Stage
    label: Label
    state: State
    detail: str = ""
    """Why, in one line: reason of a failure, what is waited for."""
    step: int = 0
    total: int = 0
    values: dict[str, float] = {}
    """What a running stage reports."""
    element: str = ""
    """`608_3`; empty for local work."""
    attempts: int | None = None
    """Tries so far; None where nobody looked (recorded and waiting tasks)."""
    since_s: float | None = None
    """Epoch seconds: start of the attempt, end of the last one, or the word that it is recorded."""
    host: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment; `status --json` prints exactly this."""

    run: str
    state: Summary
    """`done`: all recorded; `running`: something goes on by itself; `failed` (something went wrong) and
    `stopped` (the rest was cancelled or not sent) need a submit."""
    taken_s: float
    """Epoch seconds; once the run's folder is gone, when it was there last."""
    queue_s: float | None
    """When squeue answered last; None where it was not asked or never did."""
    queue_error: str
    """Why the latest squeue call failed: then the queue shown is that of `queue_s`. Empty after an answer."""
    counts: dict[Stage, dict[State, int]]
    """Every state of every stage that the plan has."""
    rows: list[Row]
    """In the order of the plan: inputs first."""
    problems: list[str]
    raised: list[str] = []
    """Unrecorded tasks that were sent with more than the profile and the plan say, in words."""
    outlook: Outlook = Outlook()
    """Pace, cost, failures by cause, results."""

    def total(self, *states: State) -> int:
        """Tasks in any of these states; of all tasks where none is named."""
        return sum(n for counts in self.counts.values() for state, n in counts.items() if not states or state in states)


def counted(rows: Iterable[Row]) -> dict[Stage, dict[State, int]]:
    """Tasks by stage and state."""
    found = Counter((row.stage, row.state) for row in rows)
    stages = {stage for stage, _ in found}
    return {stage: {state: found[stage, state] for state in STATES} for stage in STAGES if stage in stages}


def summary(rows: Iterable[Row]) -> Summary:
    """The state of a run: what goes on by itself outranks what went wrong."""
    states = {row.state for row in rows}
    if states & MOVING:
        return "running"
    if states == {"recorded"}:
        return "done"
    return "failed" if states & BAD else "stopped"


def changed(before: Snapshot | None, now: Snapshot) -> list[int]:
    """Places in the plan whose row is another one than before; all of them where there is no row to compare with."""
    if before is None or len(before.rows) != len(now.rows):
        return list(range(len(now.rows)))
    return list(compress(count(), map(is_not, before.rows, now.rows)))
