"""What the views look like, at fixed sizes and a fixed clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_screens import assert_screen
from made_shots import NOW_S, head, keys, row, shot, until, watching

from condhpc.findings import Snapshot
from condhpc.outlook import BudgetLine, Costs, Outlook, Pace, SlurmCalls
from condhpc.task_state import STATES


def run() -> Snapshot:
    """Tasks of three cells in all states, with costs and troubles."""
    tasks = [
        row(f"{i:02x}".ljust(32, "0"), STATES[i % 8] if i % 3 else "recorded", "ValueError: boom" if i % 8 == 3 else "",
            condenser=("random", "herding", "k_means")[i % 3], element=f"608_{i}", since_s=NOW_S - 90.0 * i, attempts=1,
            step=i, total=100)
        for i in range(48)
    ]  # fmt: skip
    outlook = Outlook(
        pace=[Pace(stage="condense", tasks=48, recorded=20, progress=0.45, per_h=31.0, left_s=4000.0)],
        left_s=4000.0,
        calls=SlurmCalls(squeue_last_h=31, sacct_last_h=4, next_s=NOW_S + 20),
        costs=Costs(
            source="sacct", gpu_h={"A100": 12.5}, planned_gpu_h={"A100": (20.0, 35.0)}, cpu_h=3.0, kwh=4.2, grade="B",
            budget=[BudgetLine(unit="gpuh", limit=40.0, charged=12.5, reserved=6.0)], waste_gpu_h={"failed": 1.5},
        ),
    )  # fmt: skip
    problems = ("5 condense failed: ValueError: boom (task 0b0000000000)", "4 condense lost")
    return shot(*tasks, problems=problems, taken_s=NOW_S - 20, queue_s=NOW_S - 20, outlook=outlook)


SCREENS = {
    "overview-80x24": ((80, 24), ""),
    "overview-40x10": ((40, 10), ""),
    "tasks-100x30": ((100, 30), "2 right j j space space j"),
    "tasks-40x10": ((40, 10), "2 j"),
    "help-80x40": ((80, 40), "2 question_mark"),
    "sort-80x24": ((80, 24), "2 s"),
    "filter-80x24": ((80, 24), "2 F slash h e r d"),
    "light-80x24": ((80, 24), "2 x"),
}


@pytest.mark.parametrize("name", SCREENS)
async def test_screens(name: str, tmp_path: Path) -> None:
    """Each is the picture that somebody looked at."""
    size, pressed = SCREENS[name]
    theme = "textual-light" if name.startswith("light") else ""
    app, _ = watching(run(), clock=lambda: NOW_S, theme=theme)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "made" in head(app))
        await pilot.press(*pressed.split())
        await until(pilot, lambda: "2" not in pressed or bool(keys(app)))
        await pilot.pause()
        await pilot.pause()
        assert_screen(app, name, tmp_path)
