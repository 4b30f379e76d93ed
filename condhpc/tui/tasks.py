"""All tasks of a run: by cell, by array, by stage, or one by one."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from condhpc.findings import Row
from condhpc.log_view import label_text
from condhpc.planned import Label
from condhpc.spec import STAGES
from condhpc.status_text import step_text
from condhpc.tables import duration
from condhpc.task_state import BAD, STATES, State
from condhpc.tui.grid import Grid
from condhpc.tui.line import Line
from condhpc.tui.members import Members
from condhpc.tui.table import Column, Shape
from condhpc.tui.tones import TONE_OF
from condhpc.tui.view import Setting, Update, View

_MATTERS: tuple[State, ...] = ("failed", "lost", "blocked", "over_budget", "running", "queued", "new", "recorded")
"""What is wrong first, then what moves."""


def cell_of(row: Row) -> str:
    """Equal for tasks that differ in seeds, shard and metric only; made for 100,000 of them at a time."""
    held = row.label
    return f"{row.stage} {held.dataset} {held.condenser} {held.ipc} {held.protocol} {held.student} {held.role}"


def cell_text(row: Row) -> str:
    """What such tasks have in common: `digits random ipc 10 erm resnet18`."""
    return label_text(msgspec.structs.replace(row.label, set_seed=None, student_seed=None, shard=None, metric=None))


GROUPINGS: dict[str, Callable[[Row], str] | None] = {
    "cell": cell_of,
    "array": lambda row: f"{row.stage} {row.element.partition('_')[0] or 'without an array'}",
    "stage": lambda row: row.stage,
    "task": None,
}
"""What `b` goes through."""


def own_text(row: Row) -> str:
    """What the name of a task's cell leaves out: `set 0 student 1`."""
    own = row.label
    return label_text(Label(set_seed=own.set_seed, student_seed=own.student_seed, metric=own.metric, shard=own.shard))


def states_text(rows: Members[Row]) -> str:
    """`3 recorded, 1 failed`."""
    return ", ".join(f"{rows.tally[state]} {state}" for state in STATES if rows.tally[state])


class Tasks(View):
    """Rows of tasks, collapsed into groups; the one under the cursor in full below."""

    TITLE = "Tasks"
    DEFAULT_CSS = "Tasks > Line { border-top: solid $primary; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "regroup", "Group by", id="tasks.group"),
    ]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._now_s = 0.0
        self._by = "cell"
        self._rows = Grid(self._shape(), empty="no task to show", id="rows")
        self._rows.table.group(GROUPINGS[self._by])
        self._line = Line(id="row")

    def compose(self) -> ComposeResult:
        """Table, and the line under the cursor in full."""
        yield self._rows
        yield self._line

    def show(self, update: Update) -> None:
        """Rows that changed, or all of them."""
        self._now_s = update.snapshot.taken_s
        if update.changed is None:
            self._rows.replace(update.snapshot.rows)
        else:
            self._rows.change(update.changed.values())

    @property
    def grid(self) -> Grid[Any]:
        """The rows."""
        return self._rows

    @property
    def keep(self) -> Callable[[Any], bool]:
        """What went wrong."""
        return lambda row: row.state in BAD

    def about(self, key: str) -> None:
        """The cursor on that task."""
        self._rows.reveal(key)

    def action_regroup(self) -> None:
        """By cell, by array, by stage, one by one."""
        names = list(GROUPINGS)
        self._by = names[(names.index(self._by) + 1) % len(names)]
        self._rows.group(GROUPINGS[self._by])
        self.notify(f"by {self._by}", timeout=2, markup=False)

    @on(Grid.Pointed)
    def describe(self, message: Grid.Pointed) -> None:
        """The row under the cursor in full; of a group, its states and what is wrong first."""
        rows = self._rows.table.rows_of(message.key or "")
        if not rows:
            self._line.say("")
        elif self._rows.table.is_group(message.key or ""):
            wrong = f": {detail}" if (detail := _group_detail(rows)) else ""
            self._line.say(f"{_group_title(rows, self._by)}: {states_text(rows)}{wrong}")
        else:
            self._line.say(_whole(rows[0]))

    # -- columns -------------------------------------------------------------------------------------------------

    def _shape(self) -> Shape[Row]:
        return Shape(
            columns=(
                Column("state", lambda r: r.state, 11, order=lambda r: _MATTERS.index(r.state),
                       group=_group_state, group_order=lambda rs: _MATTERS.index(_leading(rs))),
                Column("stage", lambda r: r.stage, 8, order=lambda r: STAGES.index(r.stage), from_width=60,
                       group=lambda rs: rs[0].stage, group_order=lambda rs: STAGES.index(rs[0].stage)),
                Column("task", self._title, 24, grow=6,
                       group=lambda rs: _group_title(rs, self._by)),
                Column("step", step_text, 17, grow=1, from_width=80, order=lambda r: r.step / (r.total or 1),
                       group=_group_step, group_order=lambda rs: rs.tally["recorded"] / len(rs)),
                Column("for", self._age, 7, from_width=100, order=_rank_by_age),
                Column("where", lambda r: r.element or r.host, 12, from_width=110),
                Column("tries", lambda r: "" if r.attempts is None else str(r.attempts), 5, from_width=130, right=True,
                       order=lambda r: r.attempts or 0),
                Column("detail", lambda r: r.detail, 12, grow=3, from_width=90,
                       group=_group_detail),
            ),
            key=attrgetter("key"),
            text=lambda r: " ".join((r.state, r.stage, label_text(r.label), r.key, r.element, r.host, r.detail)),
            tone=lambda r: TONE_OF[r.state],
            group_tone=lambda rs: TONE_OF[_leading(rs)],
            kind=lambda r: r.state,
        )  # fmt: skip

    def _title(self, row: Row) -> str:
        """Below the name of its cell a task is told by what is its own."""
        return (self._by == "cell" and own_text(row)) or label_text(row.label)

    def _age(self, row: Row) -> str:
        age_s = _rank_by_age(row) + self._now_s
        return duration(age_s) if age_s >= 0.0 else ""


def _rank_by_age(row: Row) -> float:
    """Greater for what runs longer, and the same whenever it is asked: a table keeps it until the row changes."""
    return -row.since_s if row.state == "running" and row.since_s is not None else float("-inf")


def _whole(row: Row) -> str:
    where = " ".join(part for part in (row.element, row.host) if part)
    parts = (f"{row.stage} {row.key}", row.state, label_text(row.label), step_text(row), where, row.detail)
    return "  ".join(part for part in parts if part)


def _group_title(rows: Members[Row], by: str) -> str:
    title = {"stage": "", "array": rows[0].element.partition("_")[0]}.get(by, cell_text(rows[0]))
    return f"{title} ({len(rows)})".strip()


def _leading(rows: Members[Row]) -> State:
    """The state that matters most: what is wrong, then what moves."""
    return next((state for state in _MATTERS if rows.tally[state] > 0), "recorded")


def _group_state(rows: Members[Row]) -> str:
    state = _leading(rows)
    return state if rows.tally[state] == len(rows) else f"{rows.tally[state]} {state}"


def _group_step(rows: Members[Row]) -> str:
    return f"{rows.tally['recorded']}/{len(rows)} recorded"


def _group_detail(rows: Members[Row]) -> str:
    """The first reason among rows that something went wrong for."""
    if not any(rows.tally[state] for state in BAD):
        return ""
    return next((row.detail for row in rows if row.state in BAD and row.detail), "")
