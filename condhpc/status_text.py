"""A snapshot, a plan's overview and collected tables as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from condhpc.cost_text import cost_lines
from condhpc.findings import Row, Snapshot
from condhpc.log_view import label_text
from condhpc.start_times import wait_lines
from condhpc.tables import aligned, duration, printable, progress_text
from condhpc.task_state import STATES

if TYPE_CHECKING:
    from condhpc.survey import Overview

_RUNNING_SHOWN = 10


def status_lines(shot: Snapshot) -> Iterator[str]:
    """What `condhpc status` prints: counts by stage and state, what runs, what is wrong."""
    yield f"run {printable(shot.run)}: {shot.state}, {shot.total('recorded')} of {shot.total()} recorded"
    if shot.queue_s is not None and shot.queue_error:
        yield f"queue as of {datetime.fromtimestamp(shot.queue_s, UTC):%Y-%m-%d %H:%M:%SZ}"
    used = [state for state in STATES if shot.total(state)]
    if used:
        yield ""
        rows = [
            (stage, sum(counts.values()), *(counts[s] or None for s in used)) for stage, counts in shot.counts.items()
        ]
        yield from aligned(("stage", "tasks", *used), rows)
    running = [row for row in shot.rows if row.state == "running"]
    if running:
        yield ""
        table = [running_row(row, shot.taken_s) for row in running[:_RUNNING_SHOWN]]
        yield from aligned(("running", "stage", "task", "step", "for", "on"), table)
        if len(running) > _RUNNING_SHOWN:
            yield f"… and {len(running) - _RUNNING_SHOWN} more"
    if shot.raised:
        yield ""
        yield from (printable(line) for line in shot.raised)
    if shot.problems:
        yield ""
        yield from (printable(problem) for problem in shot.problems)


def running_row(row: Row, now: float) -> tuple[str, str, str, str, str, str]:
    """A running task in a table."""
    where = " ".join(part for part in (row.element, row.host) if part)
    age = duration(now - row.since_s) if row.since_s is not None else ""
    return row.key[:8], row.stage, label_text(row.label), step_text(row), age, where


def step_text(row: Row) -> str:
    """How far a running task is, how long it will go on, how fast, and its loss; empty before its first step."""
    return progress_text(row.step, row.total, row.values)


def overview_lines(overview: Overview) -> Iterator[str]:
    """What a submission would do, stage by stage."""
    header = ("stage", "tasks", "new", "cached", "live", "arrays", "elements", "limit")
    rows = [
        (r.stage, r.new + r.cached + r.live, r.new, r.cached, r.live, r.arrays, r.elements, _limits(r.limits_min))
        for r in overview.rows
    ]
    width = len(header) if any(row[-1] for row in rows) else len(header) - 1
    yield from aligned(header[:width], [row[:width] for row in rows])
    yield from (printable(line) for line in overview.raised)
    yield from cost_lines(overview.costs, overview.carbon)
    yield from (printable(line) for line in wait_lines(overview.waits))
    if overview.kept_back:
        yield f"{overview.kept_back} tasks do not fit now; `condhpc submit --continue` sends them later"
    if overview.provisional:
        yield "a dataset is not on this machine: keys and counts of cached tasks are those of other tasks"
    yield from (f"warning: {printable(warning)}" for warning in overview.warnings)


def _limits(limits_min: Sequence[int | None]) -> str:
    """`60 min`, `10–90 min`; empty where all is left to the partition."""
    known = [minutes for minutes in limits_min if minutes is not None]
    if not known:
        return ""
    return f"{known[0]} min" if known[0] == known[-1] else f"{known[0]}–{known[-1]} min"
