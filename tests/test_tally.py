"""Counts and problems that are kept, against counting all rows again."""

from __future__ import annotations

import random
from collections import Counter

import msgspec

from condhpc import findings
from condhpc.findings import Row
from condhpc.planned import Label
from condhpc.spec import STAGES
from condhpc.tally import Tally
from condhpc.task_state import STATES, State


def row(at: int, state: State, detail: str = "") -> Row:
    """The row of a task."""
    return Row(key=f"{at:032x}", stage=STAGES[at % 3], label=Label("digits"), state=state, detail=detail)


def counted_anew(rows: list[Row], why: dict[int, str]) -> Tally:
    """A tally that saw each row once."""
    tally = Tally()
    for at, found in enumerate(rows):
        tally.put(at, None, found, why.get(at, ""))
    return tally


def test_changes_one_by_one_are_as_counting_all_anew() -> None:
    """After hundreds of random changes counts, summary, problems and reasons are those of the rows as they are."""
    chance = random.Random(7)
    rows = [row(at, "new") for at in range(60)]
    why = {at: chance.choice(["", "24 GB: out of memory"]) for at in range(60)}
    tally = counted_anew(rows, why)
    for _ in range(400):
        at = chance.randrange(60)
        after = row(at, chance.choice(STATES), chance.choice(["", "boom", "no luck", "Priority"]))
        tally.put(at, rows[at], after, why[at])
        rows[at] = after
        fresh = counted_anew(rows, why)
        assert tally.counts() == findings.counted(rows)
        assert tally.summary() == findings.summary(rows)
        assert tally.problems(rows, "r") == fresh.problems(rows, "r")
        open_ = Counter((r.stage, why[i]) for i, r in enumerate(rows) if r.state != "recorded" and why[i])
        assert sorted(tally.raised()) == sorted(f"{n} {stage} with {text}" for (stage, text), n in open_.items())


def test_failures_come_by_frequency_with_the_first_task() -> None:
    """The most frequent reason first, each with its number and a task; beyond ten reasons only how many."""
    rows = [row(0, "failed", "rare"), row(3, "failed", "often"), row(6, "failed", "often")]
    lines = counted_anew(rows, {}).problems(rows, "r")
    assert lines[0] == f"2 {STAGES[0]} failed: often (task {rows[1].key[:12]})"
    assert lines[1].startswith(f"1 {STAGES[0]} failed: rare")
    many = [row(3 * at, "lost", f"reason {at}") for at in range(14)]
    assert "… and 4 more reasons for lost tasks" in counted_anew(many, {}).problems(many, "r")


def test_what_a_limit_holds_up_is_told_with_the_reason() -> None:
    """Who waits for others, for inputs or for the run's own throttle is not; nothing is said to be tried again."""
    ordinary = ["Priority", "(Resources)", "Dependency", "JobArrayTaskLimit", "None", ""]
    rows = [row(at, "queued", reason) for at, reason in enumerate(ordinary)]
    assert counted_anew(rows, {}).problems(rows, "r") == []
    rows += [row(6, "queued", "QOSMaxJobsPerUserLimit"), row(9, "queued", "QOSMaxJobsPerUserLimit"), row(12, "running")]
    (line,) = counted_anew(rows, {}).problems(rows, "r")
    assert line == f"2 {STAGES[0]} queued: QOSMaxJobsPerUserLimit (task {rows[6].key[:12]})"


def test_no_plan_is_a_problem() -> None:
    """A submission that was interrupted before its plan says what to do."""
    assert "no plan" in Tally().problems([], "r")[0]


def test_rows_that_differ_are_found_by_identity() -> None:
    """Only the places whose object is another one; all of them without a snapshot to compare with."""
    rows = [row(at, "new") for at in range(4)]
    before = findings.Snapshot(
        run="r", state="stopped", taken_s=1.0, queue_s=None, queue_error="", counts={}, rows=rows, problems=[]
    )
    after = msgspec.structs.replace(before, rows=[rows[0], row(1, "running"), rows[2], row(3, "new")])
    assert findings.changed(before, after) == [1, 3]
    assert findings.changed(None, after) == [0, 1, 2, 3]
    assert findings.changed(before, msgspec.structs.replace(after, rows=rows[:2])) == [0, 1]
