"""A snapshot, a plan's overview and collected tables as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from condhpc.findings import Row, Snapshot
from condhpc.log_view import label_text
from condhpc.tables import aligned, duration, printable, progress_text
from condhpc.task_state import STATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from condhpc.predictions import CostRow
    from condhpc.survey import Overview

_RUNNING_SHOWN = 10
_IN_HOURS_FROM = 0.1
_DEVICES, _TIMES = ("gpu", "cpu"), ("GPU time", "CPU time")


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
    header = ("stage", "tasks", "new", "cached", "live", "arrays", "elements")
    rows = [(r.stage, r.new + r.cached + r.live, r.new, r.cached, r.live, r.arrays, r.elements) for r in overview.rows]
    yield from aligned(header, rows)
    yield from _cost_lines(overview.costs)
    if overview.kept_back:
        yield f"{overview.kept_back} tasks do not fit now; `condhpc submit --continue` sends them later"
    if overview.provisional:
        yield "a dataset is not on this machine: keys and counts of cached tasks are those of other tasks"
    yield from (f"warning: {printable(warning)}" for warning in overview.warnings)


def _cost_lines(costs: Sequence[CostRow]) -> Iterator[str]:
    """What is to be computed, in hours, and what these rest on."""
    if not costs:
        return
    if all(row.device == "cpu" and row.expected_h is None for row in costs):
        yield "hours: on a CPU only records tell, and there are none of such tasks yet"
        return
    yield ""
    unknown = sum(row.unknown for row in costs)
    last = f"tasks that are in neither sum: {unknown:,}" if unknown else ""
    gpu, cpu = (_hours_column([row.expected_h if row.device == kind else None for row in costs]) for kind in _DEVICES)
    kinds, counts = [*map(_kind, costs), "all"], [row.tasks for row in costs]
    rows = zip(kinds, [*counts, sum(counts)], gpu, cpu, [*map(_basis, costs), last], strict=True)
    yield from aligned(("to compute", "tasks", *_TIMES, "rests on"), rows)
    if any(row.device == "gpu" and not row.records for row in costs):
        yield "The model alone holds within a factor of three; records of real runs calibrate it."


def _kind(row: CostRow) -> str:
    return f"{row.stage} {row.condenser}".rstrip()


def _hours_column(hours: Sequence[float | None]) -> list[str]:
    """Hours and, last, their sum, to the right; nothing for what is not known."""
    known = [value for value in hours if value is not None]
    texts = [_hours_text(value) if value is not None else "" for value in (*hours, sum(known) if known else None)]
    width = max(len(_TIMES[0]), *map(len, texts))
    return [text.rjust(width) for text in texts]


def _hours_text(hours: float) -> str:
    """`1.20 h`; below a tenth of an hour minutes or seconds, so that what costs something is not shown as nothing."""
    return f"{hours:,.2f} h" if hours >= _IN_HOURS_FROM else duration(3600.0 * hours)


def _basis(row: CostRow) -> str:
    """`H100: predicted 1.20 h, recorded 1.40 h over 12 tasks, × 1.17`, or that it is the model alone."""
    missing = f"; not known for {row.unknown} of them" if 0 < row.unknown < row.tasks else ""
    if row.device == "cpu":
        if row.expected_h is None:
            return "not known on a CPU: no task like these is recorded"
        return f"CPUs: recorded {_hours_text(row.recorded_h)} over {row.records} tasks{missing}"
    if row.predicted_h is None:
        return "not known: nothing predicts these tasks"
    if not row.records or not row.recorded_predicted_h:
        return f"{printable(row.gpu)}: the model alone{missing}"
    ratio = row.recorded_h / row.recorded_predicted_h
    predicted, recorded = _hours_text(row.recorded_predicted_h), _hours_text(row.recorded_h)
    known = f"predicted {predicted}, recorded {recorded} over {row.records} tasks, × {ratio:.2f}"
    return f"{printable(row.gpu)}: {known}{missing}"
