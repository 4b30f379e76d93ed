"""How a run stands: stages, pace, costs, what looking costs, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from textual.app import ComposeResult

from condhpc.findings import Snapshot
from condhpc.outlook import BudgetLine, Costs, Pace, SlurmCalls
from condhpc.spec import Stage
from condhpc.tables import duration, printable
from condhpc.task_state import STATES, State
from condhpc.tui import folds
from condhpc.tui.page import Page, Part
from condhpc.tui.sheets import Sheet
from condhpc.tui.table import Tone
from condhpc.tui.tones import TONE_OF
from condhpc.tui.view import Setting, Update, View

_BAR_CHARS = 20
_PACE_CHARS = 18
_MOST_CHARS = 2_000
_MARGIN = 6
"""Columns that lines of words leave to their indent and to the scroll bar."""
_UNITS = {"gpuh": "GPU-h", "cpuh": "CPU-h", "kwh": "kWh"}
Said = list[Part]


class Overview(View):
    """One page of lines."""

    TITLE = "Overview"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._page = Page(id="overview-lines")
        self._shot: Snapshot | None = None

    def compose(self) -> ComposeResult:
        """The page."""
        yield self._page

    def show(self, update: Update) -> None:
        """Everything may have changed; the page paints only what did."""
        self._shot = update.snapshot
        self._write()

    def sheet(self) -> Sheet | None:
        """Stages by state, with progress, pace and what is left."""
        if self._shot is None:
            return None
        pace = {line.stage: line for line in self._shot.outlook.pace}
        lines = [
            (stage, *_pace_cells(pace.get(stage), counts), *(counts[state] for state in STATES))
            for stage, counts in self._shot.counts.items()
        ]
        return ["stage", "progress", "per_h", "left_s", *STATES], lines

    def on_resize(self) -> None:
        """Narrow screens get fewer columns."""
        self._write()

    def _write(self) -> None:
        if self._shot is not None:
            self._page.set_lines(overview_lines(self._shot, self.setting.clock(), self.app.size.width))


def overview_lines(shot: Snapshot, now: float, width: int = 100) -> Iterator[Said]:
    """The page, line by line."""
    yield from stage_lines(shot, width)
    outlook = shot.outlook
    blocks: list[tuple[str, Iterable[Said]]] = [
        ("costs", cost_lines(outlook.costs)),
        ("Slurm", [call_line(outlook.calls, now)] if shot.queue_s is not None or shot.queue_error else []),
        ("wrong now", [[(problem, "bad")] for problem in shot.problems]),
        ("sent with more", [[(line, "")] for line in shot.raised]),
        ("not known", [[(note, "dim")] for note in outlook.notes]),
    ]
    for title, block in blocks:
        lines = list(block)
        if lines:
            yield []
            yield [(title, "busy")]
            for line in lines:
                yield from _folded(line, width - _MARGIN)


def _folded(line: Said, width: int) -> Iterator[Said]:
    """A line of words in as many as it takes."""
    if len(line) != 1:
        yield [("  ", ""), *line]
        return
    ((text, tone),) = line
    for place, part in enumerate(folds.words(printable(text[:_MOST_CHARS]), max(width, 1))):
        yield [("    " if place else "  ", ""), (part, tone)]


# -- stages ------------------------------------------------------------------------------------------------------


def stage_lines(shot: Snapshot, width: int) -> Iterator[Said]:
    """Stage by state, with progress and pace; states that no task is in have no column.

    Narrow screens have no bars, and where states have no room beside it no pace.
    """
    used = [state for state in STATES if shot.total(state)]
    if not used:
        yield [("no tasks", "dim")]
        return
    widths = {state: max(len(state), 4) for state in used}
    pace = {line.stage: line for line in shot.outlook.pace}
    states = sum(2 + n for n in widths.values())
    narrow = 9 + _bar_width(narrow=False) + _PACE_CHARS + states > width
    paced = 9 + _bar_width(narrow=narrow) + _PACE_CHARS + states <= width
    head = f"{'stage':<9}{'' if narrow else 'progress':<{_bar_width(narrow=narrow)}}"
    head += f"{'an hour':>9}{'left':>9}" if paced else ""
    yield [(head + "".join(f"  {state:>{widths[state]}}" for state in used), "dim")]
    for stage, counts in shot.counts.items():
        yield _stage_line(stage, counts, pace.get(stage), widths, narrow=narrow, paced=paced)
    totals = {state: shot.total(state) for state in used}
    whole = Pace(stage="analyze", tasks=0, recorded=0, progress=_whole_progress(shot), left_s=shot.outlook.left_s)
    yield _stage_line("all", totals, whole, widths, narrow=narrow, paced=paced)
    if not paced and whole.left_s is not None:
        yield [(f"left {duration(whole.left_s)}", "")]


def _stage_line(
    name: Stage | str,
    counts: Mapping[State, int],
    pace: Pace | None,
    widths: Mapping[State, int],
    *,
    narrow: bool,
    paced: bool,
) -> Said:
    tasks = sum(counts.values())
    share = pace.progress if pace is not None else counts.get("recorded", 0) / max(tasks, 1)
    per_h = "" if pace is None or pace.per_h is None else _number(pace.per_h)
    left = "" if pace is None or pace.left_s is None else duration(pace.left_s)
    parts: Said = [(f"{name:<9}", ""), (_bar(share, narrow=narrow), "good")]
    if paced:
        parts.append((f"{per_h:>9}{left:>9}", ""))
    for state, width in widths.items():
        count = counts.get(state, 0)
        parts.append((f"  {count or '':>{width}}", TONE_OF[state] if count else ""))
    return parts


def _number(value: float) -> str:
    """Three digits, all of a large number."""
    return f"{value:.0f}" if value >= 100.0 else f"{value:.3g}"


def _pace_cells(pace: Pace | None, counts: Mapping[State, int]) -> tuple[float, float | None, float | None]:
    if pace is None:
        return counts["recorded"] / max(sum(counts.values()), 1), None, None
    return pace.progress, pace.per_h, pace.left_s


def _whole_progress(shot: Snapshot) -> float:
    """Of all stages: of each task as much as its stage has."""
    pace = {line.stage: line.progress for line in shot.outlook.pace}
    done = sum(
        sum(counts.values()) * pace[stage] if stage in pace else counts["recorded"]
        for stage, counts in shot.counts.items()
    )
    return done / max(shot.total(), 1)


def _bar_width(*, narrow: bool) -> int:
    return 5 if narrow else _BAR_CHARS + 6


def _bar(share: float, *, narrow: bool) -> str:
    """`████████░░░░  42 %`; never full before all is done."""
    part = min(max(share, 0.0), 1.0)
    percent = f"{int(100 * part):>3} %"
    full = int(_BAR_CHARS * part)
    return percent if narrow else "█" * full + "░" * (_BAR_CHARS - full) + f" {percent}"


# -- costs -------------------------------------------------------------------------------------------------------


def cost_lines(costs: Costs) -> Iterator[Said]:
    """Used, planned, bound, wasted; hours of two GPU types are never added."""
    for gpu_type in sorted({*costs.gpu_h, *costs.planned_gpu_h}):
        used, planned = costs.gpu_h.get(gpu_type, 0.0), costs.planned_gpu_h.get(gpu_type)
        yield [(f"{used:.2f} GPU-h {gpu_type}{_planned(planned)}".strip(), "")]
    if costs.cpu_h or costs.planned_cpu_h:
        yield [(f"{costs.cpu_h:.2f} CPU-h{_planned(costs.planned_cpu_h)}", "")]
    if costs.kwh is not None:
        yield [(f"{costs.kwh:.3g} kWh" + (f" (grade {costs.grade})" if costs.grade else ""), "")]
    yield from (_budget_line(line) for line in costs.budget)
    for unit, waste in (("GPU-h", costs.waste_gpu_h), ("CPU-h", costs.waste_cpu_h)):
        if (total := sum(waste.values())) > 0.0:
            causes = ", ".join(f"{cause} {hours:.2f}" for cause, hours in _largest_first(waste))
            charged = sum(costs.gpu_h.values()) if unit == "GPU-h" else costs.cpu_h
            share = f" ({total / charged:.0%})" if charged > 0.0 else ""
            yield [(f"wasted {total:.2f} {unit}{share}: {causes}", "warn")]
    if costs.source and (costs.gpu_h or costs.cpu_h):
        yield [(f"from {costs.source}", "dim")]


def _planned(hours: tuple[float, float] | None) -> str:
    return "" if hours is None else f" of {hours[0]:.2f} to {hours[1]:.2f} planned"


def _budget_line(line: BudgetLine) -> Said:
    unit = _UNITS[line.unit]
    used = line.charged + line.reserved
    tone: Tone = "bad" if line.charged >= line.limit else "warn" if used >= line.limit else ""
    word = "used up: " if tone == "bad" else ""
    reserved = f" + {line.reserved:.2f} reserved" if line.reserved else ""
    return [(f"budget {word}{line.charged:.2f}{reserved} of {line.limit:g} {unit}", tone)]


def _largest_first(hours: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    return sorted(((cause, h) for cause, h in hours.items() if h > 0.0), key=lambda item: (-item[1], item[0]))


def call_line(calls: SlurmCalls, now: float) -> Said:
    """What looking costs Slurm: calls of this user's watchers together, and when the next one may come."""
    text = f"{calls.squeue_last_h} squeue, {calls.sacct_last_h} sacct in the last hour"
    least = f" (at most every {duration(calls.squeue_every_s)}, {duration(calls.sacct_every_s)})"
    if calls.next_s is not None:
        text += f"; next in {duration(calls.next_s - now)}"
    return [(text + least, "dim")]
