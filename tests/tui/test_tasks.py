"""The view of all tasks."""

from __future__ import annotations

import msgspec
from made_shots import NOW_S, below, keys, screen, shot, tasks, until, watching
from textual.pilot import Pilot

from condhpc.findings import Row
from condhpc.planned import Label
from condhpc.task_state import State
from condhpc.tui.app import Watch


def evaluation(student: int, state: State = "queued", condenser: str = "random", **fields: object) -> Row:
    """One evaluation of a cell."""
    label = Label(
        dataset="digits", condenser=condenser, ipc=10, protocol="erm", student="convnet3", set_seed=0,
        student_seed=student,
    )  # fmt: skip
    key = f"{condenser[0]}{student}".ljust(32, "0")
    return Row(key=key, stage="evaluate", label=label, state=state, **fields)  # type: ignore[arg-type]


ROWS = (
    evaluation(0, "recorded"),
    evaluation(1, "running", step=30, total=100, values={"loss": 1.25}, element="608_1", since_s=NOW_S - 120),
    evaluation(0, "failed", "herding", detail="ValueError: boom", element="609_0", attempts=2, host="n7"),
    evaluation(1, "recorded", "herding", element="609_1"),
)


async def front(pilot: Pilot[None], app: Watch) -> None:
    """Bring it to the front."""
    await pilot.press("2")
    await until(pilot, lambda: len(keys(app)) == len(ROWS))
    await pilot.pause()


def words(app: Watch, start: str) -> list[str]:
    """Words of the line that begins so."""
    return next(line.split() for line in screen(app) if line.strip(" *+▸▾").startswith(start))


async def test_cells_are_collapsed_and_say_what_matters_most() -> None:
    """One line per cell: what is wrong before what runs, how many are recorded, the first reason."""
    app, _ = watching(shot(*ROWS, taken_s=NOW_S))
    async with app.run_test(size=(140, 24)) as pilot:
        await front(pilot, app)
        expected = "▸ 1 running evaluate digits random ipc 10 erm convnet3 (2) 1/2 recorded"
        assert " ".join(words(app, "1 running")) == expected
        assert "ValueError: boom" in " ".join(words(app, "1 failed"))
        assert below(app) == "digits random ipc 10 erm convnet3 (2): 1 recorded, 1 running"
        await pilot.press("j")
        await pilot.pause()
        assert below(app).endswith("(2): 1 recorded, 1 failed: ValueError: boom")


async def test_tasks_of_an_open_cell_are_told_by_their_seeds() -> None:
    """Below the name of the cell only what is its own; the line under the table has everything."""
    app, _ = watching(shot(*ROWS, taken_s=NOW_S))
    async with app.run_test(size=(140, 24)) as pilot:
        await front(pilot, app)
        await pilot.press("right", "j", "j")
        await pilot.pause()
        expected = "running evaluate set 0 student 1 30/100, loss 1.25 2 min 608_1"
        assert " ".join(words(app, "running")) == expected
        assert below(app) == (
            f"evaluate {'r1'.ljust(32, '0')}  running  digits random ipc 10 erm convnet3 set 0 student 1  "
            "30/100, loss 1.25  608_1"
        )


async def test_groups_by_array_by_stage_and_none() -> None:
    """`b` goes round; every grouping shows every task once."""
    app, _ = watching(shot(*ROWS, taken_s=NOW_S))
    async with app.run_test(size=(140, 24)) as pilot:
        await front(pilot, app)
        found = {}
        for _ in range(4):
            await pilot.press("b")
            table = tasks(app)._rows.table
            found[tasks(app)._by] = len(table.shown)
            assert sorted(keys(app)) == sorted(row.key for row in ROWS)
        assert found == {"array": 3, "stage": 1, "task": 4, "cell": 2}


async def test_cells_are_sorted_by_what_needs_a_person() -> None:
    """Sorted by state, what is wrong comes first, among cells and inside them."""
    app, _ = watching(shot(*ROWS, taken_s=NOW_S))
    async with app.run_test(size=(140, 24)) as pilot:
        await front(pilot, app)
        await pilot.press("s", "j", "enter", "x")
        await until(pilot, lambda: keys(app)[0] == ROWS[2].key)
        assert keys(app) == [ROWS[i].key for i in (2, 3, 1, 0)]


async def test_chosen_tasks_are_those_behind_the_line_or_marked() -> None:
    """What actions concern: of a cell all its tasks that pass the filter."""
    app, _ = watching(shot(*ROWS, taken_s=NOW_S))
    async with app.run_test(size=(140, 24)) as pilot:
        await front(pilot, app)
        assert app.front.selected == [ROWS[0].key, ROWS[1].key]
        await pilot.press("slash", *"recorded", "enter")
        assert app.front.selected == [ROWS[0].key]
        await pilot.press("space", "space")
        assert app.front.selected == [ROWS[0].key, ROWS[3].key]


async def test_another_view_can_ask_for_a_task() -> None:
    """Its cell is opened and the cursor put on it."""
    app, _ = watching(shot(*ROWS, taken_s=NOW_S))
    async with app.run_test(size=(140, 24)) as pilot:
        await front(pilot, app)
        await pilot.press("1")
        app.front.post_message(app.front.Opened("tasks", ROWS[3].key))
        await until(pilot, lambda: ROWS[3].key in below(app))
        assert app.front.TITLE == "Tasks"


async def test_tasks_are_sorted_by_how_long_they_run_whenever_they_began() -> None:
    """One that starts later than another is below it, however late it is by then; what does not run is last."""
    first, waits, third = evaluation(0, "running", since_s=NOW_S - 10), evaluation(1), evaluation(2)
    app, source = watching(shot(first, waits, third, taken_s=NOW_S), poll_s=0.05)
    async with app.run_test(size=(140, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press("2", "b", "b", "b")
        tasks(app)._rows.sort("for", descending=True)
        began = msgspec.structs.replace(third, state="running", since_s=NOW_S + 500)
        source.now = shot(first, waits, began, taken_s=NOW_S + 1000)
        await until(pilot, lambda: tasks(app)._rows.table.rows[third.key].state == "running")
        assert keys(app) == [first.key, third.key, waits.key]
