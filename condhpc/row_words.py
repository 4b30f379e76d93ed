"""From what was found of a task to evidence, and from evidence to a row for people. Pure."""

from __future__ import annotations

from typing import Any, cast

from condhpc.findings import Row
from condhpc.hints import Hint
from condhpc.lease import Attempt, Outcome
from condhpc.run_view import Place
from condhpc.runs import PlanLine
from condhpc.slurm_text import QueueRow
from condhpc.task_state import Evidence, State, state_of

_NOTHING: dict[str, float] = {}
"""Shared by all rows that report nothing; nobody writes to it."""


def head(line: PlanLine) -> dict[str, Any]:
    """What a row has from the plan."""
    return {"key": line.key, "stage": line.stage, "label": line.label, "values": _NOTHING}


def described(
    line: PlanLine, seen: Evidence, attempt: Attempt | None, element: str, queued: QueueRow | None, over_budget: str
) -> Row:
    """The row of a task that is not recorded; `queued` is its element's in squeue."""
    state = state_of(seen)
    pulse = attempt.pulse if attempt is not None and state == "running" else None
    since = None
    if attempt is not None:
        since = attempt.end.time if attempt.end is not None else attempt.owner.started
    return Row(
        key=line.key,
        stage=line.stage,
        label=line.label,
        state=state,
        detail=over_budget if state == "over_budget" else _detail(state, seen, attempt, element, queued),
        step=pulse.step if pulse is not None else 0,
        total=pulse.total if pulse is not None else 0,
        values=pulse.values if pulse is not None else _NOTHING,
        element=element,
        attempts=attempt.number if attempt is not None else None,
        since_s=since,
        host=attempt.owner.host if attempt is not None else "",
    )


def _detail(state: State, seen: Evidence, attempt: Attempt | None, element: str, queued: QueueRow | None) -> str:
    reason = last_line(attempt.end.reason) if attempt is not None and attempt.end is not None else ""
    if state == "queued":
        return queued.reason if queued is not None and seen.queue == "waiting" else ""
    if state == "blocked" and seen.outcome is None:
        if seen.queue == "stuck" and queued is not None:
            return f"element {element} cannot start: {queued.reason}"
        return "its element was killed: an input failed"
    if state == "lost":
        began = "left the queue without a record" if element else "the worker died"
        return f"element {element} ended as {queued.state}" if queued is not None else began
    if state == "new" and not reason:
        return "cancelled" if seen.cancelled else ""
    return reason


def is_over(hint: Hint | None) -> bool:
    """Whether its element has nothing more to do for a task that is not recorded."""
    return hint is not None and hint.result in {"failed", "blocked"}


def outcome_of(attempt: Attempt | None, hint: Hint | None) -> Outcome | None:
    """How it ended last. Where there is no diary, or none that can be read, only a hint tells."""
    if hint is not None and (hint.result == "over_budget" or (hint.result == "stopped" and attempt is None)):
        return "stopped"
    if hint is not None and attempt is None and hint.result in {"failed", "blocked"}:
        return cast("Outcome", hint.result)
    return attempt.end.outcome if attempt is not None and attempt.end is not None else None


def gave_up(attempt: Attempt | None, place: Place, hint: Hint | None) -> bool:
    """Whether an element failed at this task: it goes on with the rest of its pack and does not try it again."""
    if attempt is None:
        return is_over(hint)
    if attempt.end is None or attempt.end.outcome not in {"failed", "blocked"}:
        return False
    return attempt.end.time >= place.submission.intent.time


def last_line(text: str) -> str:
    """The line of a traceback or message that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
