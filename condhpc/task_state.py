"""The state of one task, from evidence: one pure function."""

from __future__ import annotations

from typing import Literal

import msgspec

from condhpc.lease import Outcome

State = Literal["recorded", "running", "queued", "failed", "blocked", "over_budget", "lost", "new"]
STATES: tuple[State, ...] = ("recorded", "running", "queued", "failed", "blocked", "over_budget", "lost", "new")
"""In order of precedence."""
BAD: frozenset[State] = frozenset({"failed", "blocked", "lost"})
"""States that do not pass by themselves and that something went wrong for."""
MOVING: frozenset[State] = frozenset({"running", "queued"})
"""States that pass by themselves."""

InQueue = Literal["active", "waiting", "stuck"]
"""An element in squeue: started; waiting; held, or with a dependency that can never be satisfied."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the state of a task depends on."""

    recorded: bool = False
    leased_live: bool = False
    """Its newest attempt has not ended and its owner is alive."""
    queue: InQueue | None = None
    """Of its element; None where it is not in the queue any more, or never was."""
    outcome: Outcome | None = None
    """How its newest attempt ended; None without an attempt, or where that could not say so."""
    submitted: bool = False
    """The scheduler was handed an element with this task, and has to account for it."""
    cancelled: bool = False
    """A user cancelled that element."""
    bad_input: bool = False
    """One of its inputs is failed, blocked or lost."""
    over_budget: bool = False
    """The budget of its run is used up."""
    within_grace: bool = False
    """Its element was submitted, or seen in the queue, too recently to miss it."""


def state_of(seen: Evidence) -> State:
    """Recorded > running > queued > failed > blocked > over_budget > lost > new.

    A task of an active element that is not leased itself waits in its pack. Stopped or cancelled work is new:
    the next submit goes on with it. An element that vanished without a word is lost, unless it was killed
    because an input can never come: then it is blocked. While a budget is used up, what would be held, lost or
    new is over budget: that is why it does not go on.
    """
    if seen.recorded:
        return "recorded"
    if seen.leased_live:
        return "running"
    if seen.queue in {"active", "waiting"}:
        return "queued"
    if seen.outcome == "failed":
        return "failed"
    if seen.outcome == "blocked":
        return "blocked"
    if seen.over_budget:
        return "over_budget"
    if seen.queue == "stuck":
        return "blocked"
    if seen.outcome is not None or seen.cancelled or not seen.submitted:
        return "new"
    if seen.bad_input:
        return "blocked"
    return "queued" if seen.within_grace else "lost"
