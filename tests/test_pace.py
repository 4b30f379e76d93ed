"""How fast stages go, from made-up rows on a made-up clock."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from condhpc.findings import Row
from condhpc.outlook import Pace
from condhpc.pace import Paces
from condhpc.planned import Label
from condhpc.spec import Stage
from condhpc.task_state import State

NOW_S = 1_000_000.0


def row(number: int, state: State, stage: Stage = "evaluate", **fields: float) -> Row:
    """A task."""
    return Row(key=f"{stage}{number}", stage=stage, label=Label(), state=state, **fields)


def paces(rows: Iterable[Row]) -> Paces:
    """That know these rows."""
    found = Paces()
    for one in rows:
        found.change(None, one)
    return found


def only(found: Paces, now_s: float = NOW_S) -> Pace:
    """The pace of the one stage that there is."""
    (pace,), _ = found.now(now_s)
    return pace


def test_a_steady_pace_is_that_of_the_last_hour() -> None:
    """One a minute for ten hours is 60 an hour, and 30 that wait take half an hour."""
    rows = [row(i, "recorded", since_s=NOW_S - 36_000 + 60 * i) for i in range(600)]
    pace = only(paces([*rows, *(row(600 + i, "queued") for i in range(30))]))
    assert (pace.tasks, pace.recorded, pace.progress) == (630, 600, round(600 / 630, 6))
    assert pace.per_h == pytest.approx(60, rel=0.02)
    assert pace.left_s == pytest.approx(1800, rel=0.02)


def test_a_slow_stage_has_a_pace_too() -> None:
    """One in two hours: the last ten ends tell it, and it sinks while nothing ends."""
    rows = [row(i, "recorded", since_s=NOW_S - 7200 * (20 - i)) for i in range(20)]
    slow = paces([*rows, row(20, "running", step=1, total=2)])
    assert only(slow).per_h == 0.45  # nine since the tenth last, over twenty hours
    assert only(slow).left_s == 0.5 * 3600 / 0.45
    assert (only(slow, NOW_S + 72_000).per_h or 0) < 0.3


def test_a_stage_that_is_done_has_no_pace() -> None:
    """It would sink for ever, and the screen would be painted anew for it."""
    rows = [row(i, "recorded", since_s=NOW_S - 60 * i) for i in range(20)]
    assert (only(paces(rows)).per_h, only(paces(rows)).left_s) == (None, 0.0)


def test_with_few_ends_nothing_is_claimed() -> None:
    """Two ends are no pace, unless all that is left runs and says how far it is."""
    rows = [row(i, "recorded", since_s=NOW_S - 60 * i) for i in range(2)]
    assert (only(paces([*rows, row(2, "queued")])).per_h, only(paces([*rows, row(2, "queued")])).left_s) == (None, None)
    running = row(2, "running", step=25, total=100, since_s=NOW_S - 100)
    assert only(paces([*rows, running])).left_s == 300.0
    assert only(paces([*rows, row(2, "running", since_s=NOW_S)])).left_s is None


def test_failures_are_not_waited_for() -> None:
    """What failed is never done by itself: with nothing else left there is no end to tell; all recorded is 0."""
    rows = [row(i, "recorded", since_s=NOW_S - 60 * i) for i in range(20)]
    assert only(paces([*rows, row(20, "failed")])).left_s is None
    assert only(paces([*rows, row(20, "new")])).left_s is None
    assert only(paces(rows)).left_s == 0.0
    both = only(paces([*rows, row(20, "queued"), row(21, "failed")]))
    alone = only(paces([*rows, row(20, "queued")]))
    assert both.left_s == alone.left_s


def test_the_run_takes_as_long_as_its_longest_stage() -> None:
    """In the order of the stages; where one that moves cannot tell, the run cannot."""
    fast = [row(i, "recorded", "condense", since_s=NOW_S - 30 * i) for i in range(20)] + [row(99, "queued", "condense")]
    slow = [row(i, "recorded", since_s=NOW_S - 300 * i) for i in range(20)] + [row(99, "queued")]
    found, left_s = paces([*slow, *fast]).now(NOW_S)
    assert [pace.stage for pace in found] == ["condense", "evaluate"]
    assert left_s == found[1].left_s
    assert (left_s or 0.0) > (found[0].left_s or 0.0)
    _, unknown = paces([*fast, row(1, "queued")]).now(NOW_S)
    assert unknown is None


def test_changes_are_as_good_as_a_fresh_look() -> None:
    """Rows that move through all states leave the counts, ends and steps of where they are now."""
    first = [row(i, "queued") for i in range(6)]
    then = [
        row(0, "recorded", since_s=NOW_S - 50), row(1, "running", step=3, total=4), row(2, "failed"),
        row(3, "recorded", since_s=NOW_S - 20), row(4, "recorded", since_s=NOW_S - 90), row(5, "new"),
    ]  # fmt: skip
    found = paces(first)
    for before, after in zip(first, then, strict=True):
        found.change(before, after)
    assert found.now(NOW_S) == paces(then).now(NOW_S)
    for before, after in zip(then, first, strict=True):  # records deleted by hand
        found.change(before, after)
    assert found.now(NOW_S) == paces(first).now(NOW_S)
