"""What actions on tasks ask and say, in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from condhpc.findings import Row
from condhpc.stakes import Stakes
from condhpc.task_state import MOVING, STATES

_DIGITS = 12
_SHOWN = 3


def cancel_question(stakes: Stakes) -> list[str]:
    """What cancelling concerns: how many, what goes with them, hours at stake, what will not start."""
    where = f"{counted(len(stakes.keys), 'task')} in {counted(stakes.elements, 'element')}"
    lines = [f"Cancel {where}: {stakes.running} running, {stakes.waiting} waiting?"]
    if stakes.others:
        lines.append(
            f"{counted(len(stakes.others), 'other task')} of the same elements "
            f"{'goes' if len(stakes.others) == 1 else 'go'} with them: an element ends as a whole."
        )
    if stakes.running:
        lines.append(
            f"At stake: {stakes.gpu_h:.2f} GPU-hours, {stakes.cpu_h:.2f} CPU-hours of running work."
            " Running tasks checkpoint."
        )
    else:
        lines.append("At stake: 0 GPU-hours, nothing of it runs.")
    lines.append(
        f"Without them {counted(len(stakes.dependants), 'task')} cannot be computed."
        if stakes.dependants
        else "No other task needs them."
    )
    return lines


def retryable(rows: Iterable[Row]) -> list[Row]:
    """Tasks that can be sent again: neither recorded nor on their way."""
    return [row for row in rows if row.state != "recorded" and row.state not in MOVING]


def retry_question(rows: Sequence[Row], lost_gpu_h: float | None = None, causes: Sequence[str] = ()) -> list[str]:
    """Which tasks are tried again, what they failed of, and what their failures cost so far."""
    states = Counter(row.state for row in rows)
    words = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    lines = [f"Try {counted(len(rows), 'task')} again: {words}?"]
    if causes:
        more = f"; {len(causes) - _SHOWN} more" if len(causes) > _SHOWN else ""
        lines.append(f"{'Cause' if len(causes) == 1 else 'Causes'}: {'; '.join(causes[:_SHOWN])}{more}")
    if lost_gpu_h is not None:
        lines.append(f"Failed attempts took {lost_gpu_h:.2f} GPU-hours so far.")
    lines.append("Empty: as before, and half as much again of what a limit ended.")
    return lines


def task_words(keys: Sequence[str]) -> str:
    """`3 tasks (0a1b2c3d4e5f, …)`; a single one by its beginning."""
    if len(keys) == 1:
        return f"task {keys[0][:_DIGITS]}"
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"{len(keys)} tasks ({', '.join(key[:_DIGITS] for key in keys[:_SHOWN])}{more})"


def counted(number: int, what: str) -> str:
    """`1 task`, `3 tasks`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
