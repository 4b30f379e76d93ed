"""Lines of an overview and of a snapshot."""

from __future__ import annotations

from typing import Any

from condhpc.findings import Snapshot
from condhpc.start_times import Wait
from condhpc.status_text import overview_lines, status_lines
from condhpc.survey import Overview, StageRow


def _lines(*limits: tuple[int | None, ...], **fields: Any) -> list[str]:
    rows = [StageRow("condense", 3, 0, 0, 1, 3, limits_min) for limits_min in limits]
    return list(overview_lines(Overview(rows, [], 0, provisional=False, **fields)))


def test_limits_stand_in_a_column_where_there_are_any() -> None:
    """From the shortest to the longest of a stage's arrays; nothing where all is left to the partition."""
    head, first, second, third = _lines((60,), (None, 10, 90), (None,))
    assert head.endswith("elements  limit")
    assert [line.split("  ")[-1] for line in (first, second)] == ["60 min", "10–90 min"]
    assert third.endswith(" 3")
    assert _lines((None,), ())[0].endswith("elements")


def test_more_resources_and_waits_are_told() -> None:
    """Without control bytes: a partition's name is user text."""
    wait = Wait(stages=("condense",), start_s=None, wait_s=None, reason="no partition \x1b[2J")
    found = _lines((60,), raised=["3 condense with 24 GB: out of memory"], waits=[wait])
    assert found[2] == "3 condense with 24 GB: out of memory"
    assert found[-1] == "could start, by sbatch --test-only now: condense not known: no partition ?[2J"


def test_status_says_what_was_sent_with_more() -> None:
    """Before the problems, after the tables."""
    shot = Snapshot(
        run="r", state="running", taken_s=1.0, queue_s=None, queue_error="", counts={}, rows=[], problems=["a problem"],
        raised=["1 condense with 2 min: its time limit was too short"],
    )  # fmt: skip
    assert [*status_lines(shot)][-3:] == ["1 condense with 2 min: its time limit was too short", "", "a problem"]
