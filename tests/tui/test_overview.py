"""The page on how a run stands."""

from __future__ import annotations

import pytest
from made_shots import NOW_S, row, screen, shot, until, watching

from condhpc.findings import Snapshot
from condhpc.outlook import BudgetLine, Costs, Outlook, Pace, SlurmCalls
from condhpc.tui.overview import overview_lines

OUTLOOK = Outlook(
    pace=[Pace(stage="condense", tasks=4, recorded=1, progress=0.5, per_h=12.5, left_s=7200.0)],
    left_s=9000.0,
    calls=SlurmCalls(squeue_last_h=40, sacct_last_h=3, next_s=NOW_S + 12),
    costs=Costs(
        source="sacct",
        gpu_h={"A100": 12.0, "V100": 3.0},
        planned_gpu_h={"A100": (20.0, 35.0)},
        cpu_h=5.25,
        kwh=1.234,
        grade="B",
        budget=[
            BudgetLine(unit="gpuh", limit=200.0, charged=15.0, reserved=5.0),
            BudgetLine(unit="kwh", limit=1.0, charged=1.2),
        ],
        waste_gpu_h={"failed": 1.0, "lost": 2.0, "nothing": 0.0},
    ),
    notes=["no power was measured on n7"],
)


def made(outlook: Outlook = OUTLOOK) -> Snapshot:
    """Four tasks, one of each kind that matters here."""
    rows = (row("a" * 32, "recorded"), row("b" * 32, "running"), row("c" * 32), row("d" * 32, "failed", "boom"))
    return shot(*rows, problems=("1 condense failed: boom",), taken_s=NOW_S, queue_s=NOW_S, outlook=outlook)


def lines(seen: Snapshot, width: int = 100) -> list[str]:
    """The page as text."""
    return ["".join(text for text, _ in line).rstrip() for line in overview_lines(seen, NOW_S, width)]


def test_stages_have_states_progress_pace_and_time_left() -> None:
    """One line per stage and one for all; half a task that runs counts as half."""
    found = lines(made())
    assert found[0].split() == ["stage", "progress", "an", "hour", "left", "recorded", "running", "queued", "failed"]
    assert found[1].split() == ["condense", "█" * 10 + "░" * 10, "50", "%", "12.5", "2.0", "h", "1", "1", "1", "1"]
    assert found[2].split() == ["all", "█" * 10 + "░" * 10, "50", "%", "2.5", "h", "1", "1", "1", "1"]


@pytest.mark.parametrize(
    ("per_h", "shown"), [(0.1234, "0.123"), (12.54, "12.5"), (99.96, "100"), (123.4, "123"), (12_345.6, "12346")]
)
def test_a_pace_is_a_plain_number(per_h: float, shown: str) -> None:
    """Three digits, all of a large number; never an exponent."""
    pace = Pace(stage="condense", tasks=4, recorded=1, progress=0.5, per_h=per_h, left_s=7200.0)
    assert lines(made(Outlook(pace=[pace])))[1].split()[4] == shown


def test_costs_are_used_of_planned_bounded_and_wasted() -> None:
    """Hours of two GPU types apart; what is wasted by cause, largest first, with its share."""
    found = [line.strip() for line in lines(made())]
    for line in (
        "12.00 GPU-h A100 of 20.00 to 35.00 planned",
        "3.00 GPU-h V100",
        "5.25 CPU-h",
        "1.23 kWh (grade B)",
        "budget 15.00 + 5.00 reserved of 200 GPU-h",
        "budget used up: 1.20 of 1 kWh",
        "wasted 3.00 GPU-h (20%): lost 2.00, failed 1.00",
        "from sacct",
        "40 squeue, 3 sacct in the last hour; next in 12 s (at most every 30 s, 2 min)",
        "1 condense failed: boom",
        "no power was measured on n7",
    ):
        assert line in found


def test_what_is_not_known_is_left_out() -> None:
    """A local run without costs has stages and nothing else; never a zero that nobody measured."""
    rows = (row("a" * 32, "recorded"), row("b" * 32))
    assert len(lines(shot(*rows, taken_s=NOW_S))) == 3
    assert lines(shot(taken_s=NOW_S)) == ["no tasks"]


def test_a_run_is_not_at_100_percent_before_all_is_done() -> None:
    """999 of 1000 are 99 %."""
    rows = [row(f"{i:032x}", "recorded" if i else "queued") for i in range(1000)]
    assert " 99 %" in lines(shot(*rows, taken_s=NOW_S))[-1]


@pytest.mark.parametrize("width", [40, 80])
def test_long_words_of_what_is_wrong_are_read_without_scrolling(width: int) -> None:
    """What to do about it comes last: folded, every word of it is there, and nothing of it is a command."""
    command = (
        "`condhpc logs made-20260101T000000Z --failed` shows more, `condhpc retry made-20260101T000000Z` tries again"
    )
    found = lines(shot(row("a" * 32, "failed"), problems=(command, "x" * 99_999, "\x1b[2J"), taken_s=NOW_S), width)
    below = found[found.index("wrong now") + 1 :]
    assert all(len(line) <= width - 2 for line in below)
    assert command in " ".join(" ".join(below).split())
    assert len(below) < 80
    assert not any("\x1b" in line for line in below)


def test_narrow_screens_get_no_bars() -> None:
    """And no pace where states have no room beside it; what is left of all is told below then."""
    found = lines(made(), width=70)
    assert found[0].split() == ["stage", "an", "hour", "left", "recorded", "running", "queued", "failed"]
    assert not any("█" in line for line in found)
    found = lines(made(), width=50)
    assert found[0].split() == ["stage", "recorded", "running", "queued", "failed"]
    assert found[1].split() == ["condense", "50", "%", "1", "1", "1", "1"]
    assert found[3] == "left 2.5 h"


async def test_the_page_is_shown_and_follows() -> None:
    """The first view there is; it changes with the run."""
    app, source = watching(made(), poll_s=0.01, clock=lambda: NOW_S)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: any("12.00 GPU-h A100" in line for line in screen(app)))
        source.now = made(Outlook(calls=SlurmCalls(squeue_last_h=41)))
        await until(pilot, lambda: any("41 squeue" in line for line in screen(app)))
        assert not any("GPU-h" in line for line in screen(app))
