"""Failures, results, costs and condensed sets on screen, over a study on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from made_shots import EVIL, NOW_S, row, screen, shot, until, watching
from made_study import LOG, Study, study
from textual.pilot import Pilot

from condhpc.findings import Snapshot
from condhpc.outlook import CellResult, CostLine, Costs, FailureGroup, Outlook, SeedResult
from condhpc.planned import Label
from condhpc.set_card import SetCard
from condhpc.tables import printable
from condhpc.tui.app import Watch
from condhpc.tui.ascii_driver import AsciiDriver
from condhpc.tui.card import Card, shows_colours
from condhpc.tui.cost import Cost
from condhpc.tui.failures import Failures
from condhpc.tui.log import Log
from condhpc.tui.page import Page
from condhpc.tui.results import Results
from condhpc.tui.set_view import Sets
from condhpc.tui.view import View


@pytest.fixture
def made(tmp_path: Path) -> Study:
    """A study on disk."""
    return study(tmp_path)


def watch(made: Study, now: Snapshot | None = None) -> Watch:
    """An app on it."""
    app, _ = watching(now or made.shot, clock=lambda: NOW_S, folder=made.made.run, layout=made.made.layout)
    return app


async def at(pilot: Pilot[None], app: Watch, view: type[View]) -> None:
    """That view in front, with the first snapshot."""
    await until(pilot, lambda: app.shot is not None)
    await pilot.press(str([type(held) for held in app._views].index(view) + 1))
    await pilot.pause()


def page(app: Watch) -> list[str]:
    """Lines below the table in front."""
    return app.front.query_one(Page).lines


def grid_lines(app: Watch) -> list[tuple[str, ...]]:
    """Texts of the table in front, without what columns do not show."""
    grid = app.front.grid
    assert grid is not None
    return [grid.table.cells(key) for key in grid.table.shown]


# -- failures ----------------------------------------------------------------------------------------------------


async def test_failures_are_causes_with_the_end_of_a_log(made: Study) -> None:
    """One line for each cause, below it an example, where, and what the first task printed."""
    app = watch(made)
    async with app.run_test(size=(120, 40)) as pilot:
        await at(pilot, app, Failures)
        assert grid_lines(app)[0][:5] == ("1", "failed", "code", "", "StageError: loss is N, expected a number")
        await until(pilot, lambda: page(app)[-1] == LOG[-1])
        assert "example StageError: loss is nan, expected a number" in page(app)
        assert "nodes   n3" in page(app)


async def test_enter_opens_the_log_of_the_first_failure(made: Study) -> None:
    """In the log's view, about that task."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await at(pilot, app, Failures)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.front, Log))
        (failed,) = [held.key for held in made.shot.rows if held.state == "failed"]
        assert app.front.selected == [failed]


async def test_a_cause_without_a_log_says_so() -> None:
    """No folder, no log: nothing is read, nothing is missing."""
    group = FailureGroup(signature="x", example="y", state="lost", stages=["embed"], keys=["a" * 32])
    app, _ = watching(shot(row("a" * 32, "lost"), outlook=Outlook(failures=[group])))
    async with app.run_test(size=(80, 24)) as pilot:
        await at(pilot, app, Failures)
        assert "example y" in page(app)
        assert app.front.selected == ["a" * 32]


async def test_causes_that_read_alike_are_two_lines_and_all_their_tasks_are_chosen() -> None:
    """Lost by the machine, and lost for no known reason: one line each, and `A` marks both."""
    one = FailureGroup(signature="x", example="x", state="lost", stages=["embed"], cause="infra", keys=["a", "b"])
    outlook = Outlook(failures=[one, msgspec.structs.replace(one, cause="", keys=["c"])])
    app, _ = watching(shot(*(row(key, "lost") for key in "abc"), outlook=outlook))
    async with app.run_test(size=(80, 24)) as pilot:
        await at(pilot, app, Failures)
        assert [line[2] for line in grid_lines(app)] == ["infra", ""]
        assert app.front.selected == ["a", "b"]
        await pilot.press("A")
        assert app.front.selected == ["a", "b", "c"]


async def test_the_cursor_stays_on_a_cause_that_grows_by_another_stage() -> None:
    """And moves up for it: what `r` asks about is what the cursor was on."""
    nan = FailureGroup(signature="loss is nan", example="", state="failed", stages=["condense"], keys=["a", "b"])
    full = msgspec.structs.replace(nan, signature="out of memory", keys=["c"])
    app, source = watching(shot(*(row(key, "failed") for key in "abcdef"), outlook=Outlook(failures=[nan, full])), 0.05)
    async with app.run_test(size=(80, 24)) as pilot:
        await at(pilot, app, Failures)
        await pilot.press("j")
        assert app.front.selected == ["c"]
        grown = msgspec.structs.replace(full, stages=["condense", "evaluate"], keys=["c", "d", "e"])
        source.now = shot(*(row(key, "failed") for key in "abcdef"), outlook=Outlook(failures=[grown, nan]))
        await until(pilot, lambda: grid_lines(app)[0][0] == "3")
        assert app.front.selected == ["c", "d", "e"]


# -- results -----------------------------------------------------------------------------------------------------


async def test_the_pivot_shows_means_best_and_holes(made: Study) -> None:
    """Condensers by ipc below their dataset and protocol; counts where some are to come; what failed."""
    app = watch(made)
    async with app.run_test(size=(100, 30)) as pilot:
        await at(pilot, app, Results)
        lines = grid_lines(app)
        assert lines[0][:3] == ("digits", "erm", "convnet3")
        assert lines[1] == ("random", " 40.00 ±0.40 (3)", " 44.50 ±0.40 (3)", " 48.80 ±0.28 (2/3)")
        assert lines[3] == ("rded", "*52.25 ±0.40 (3)", "*56.75 ±0.40 (3)", "*61.05 ±0.28 (2/3)")
        assert lines[4] == ("minimax", " 49.00 ±0.40 (3)", " - (0/3) 3 failed", " - (0/3)")
        assert [line[1] for line in lines if line[0] == "digits"] == ["erm", "single_teacher"]


async def test_a_line_opens_into_its_seeds(made: Study) -> None:
    """Difference to random, metrics, every evaluation with its state; enter goes to the tasks."""
    app = watch(made)
    async with app.run_test(size=(100, 50)) as pilot:
        await at(pilot, app, Results)
        await pilot.press("j", "j", "j")
        assert page(app)[0].startswith("digits erm convnet3 rded")
        assert "ipc 10   *56.75 ±0.40 (3), +12.25 over random" in page(app)
        assert any("coverage 0.3, cpu_h 1, gpu_h 9" in line for line in page(app))
        assert sum("queued" in line for line in page(app)) == 1
        await pilot.press("enter")
        await until(pilot, lambda: app.front.id == "tasks")
        assert app.front.selected[0] in {held.key for held in made.shot.rows if held.label.condenser == "rded"}


async def test_only_lines_with_news_are_renewed(made: Study) -> None:
    """The line of a cell that changed, and what is told of it below where the cursor is on it."""
    app, source = watching(made.shot, poll_s=0.05, folder=made.made.run, layout=made.made.layout, clock=lambda: NOW_S)
    async with app.run_test(size=(100, 30)) as pilot:
        await at(pilot, app, Results)
        await pilot.press("j")
        grid = app.front.grid
        assert grid is not None
        before = dict(grid.table.rows)
        assert "ipc 1    " in page(app)[1]
        cells = list(made.shot.outlook.cells)
        cells[0] = msgspec.structs.replace(cells[0], mean_pct=12.5)
        outlook = msgspec.structs.replace(made.shot.outlook, cells=cells)
        source.now = msgspec.structs.replace(made.shot, outlook=outlook)
        await until(pilot, lambda: " 12.50 ±0.40 (3)" in grid_lines(app)[1])
        await pilot.pause()
        assert any(" 12.50 ±0.40 (3)" in line for line in page(app))
        assert sum(row is not before[key] for key, row in grid.table.rows.items()) == 1


async def test_measures_go_round(made: Study) -> None:
    """Accuracy, difference to random, metrics and costs, and accuracy again."""
    app = watch(made)
    async with app.run_test(size=(100, 30)) as pilot:
        await at(pilot, app, Results)
        front = app.front
        assert isinstance(front, Results)
        seen = []
        for _ in range(6):
            seen.append((front.measure, grid_lines(app)[3][1]))
            await pilot.press("m")
        assert seen == [
            ("top1_pct", "*52.25 ±0.40 (3)"), ("over_random_pct", " +12.25"), ("coverage", " 0.2"), ("cpu_h", " 0.1"),
            ("gpu_h", " 0.9"), ("top1_pct", "*52.25 ±0.40 (3)"),
        ]  # fmt: skip
        await pilot.press("M")
        assert front.measure == "top1_pct"


async def test_accuracy_is_plotted_against_hours(made: Study) -> None:
    """Of the line's dataset and protocol; what cost no GPU-hours is named beside it."""
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        await at(pilot, app, Results)
        await pilot.press("p")
        assert page(app)[0] == "digits erm convnet3: top-1 % against GPU-hours of making the set"
        assert page(app)[1] == "top-1 %: A herding, B rded, C minimax; without GPU-hours: random"
        await pilot.press("p")
        assert page(app)[0].startswith("digits erm convnet3 random")


async def test_a_group_that_was_closed_stays_closed(made: Study) -> None:
    """New results do not open it again; other columns keep the cursor's line."""
    app, source = watching(made.shot, poll_s=0.05, clock=lambda: NOW_S)
    async with app.run_test(size=(100, 30)) as pilot:
        await at(pilot, app, Results)
        await pilot.press("left")
        assert len(grid_lines(app)) == 6
        cells = [msgspec.structs.replace(cell, mean_pct=1.0) for cell in made.shot.outlook.cells if cell.ipc != 50]
        source.now = msgspec.structs.replace(made.shot, outlook=Outlook(cells=cells))
        await until(pilot, lambda: len(grid_lines(app)[0]) == 3)
        assert len(grid_lines(app)) == 6
        assert grid_lines(app)[2][1] == " 1.00 ±0.40 (3)"


async def test_sorting_keeps_groups_together(made: Study) -> None:
    """By the mean in a column, within each dataset and protocol; holes come first."""
    app = watch(made)
    async with app.run_test(size=(100, 30)) as pilot:
        await at(pilot, app, Results)
        grid = app.front.grid
        assert grid is not None
        grid.sort("ipc 10", descending=True)
        await pilot.pause()
        assert [line[0] for line in grid_lines(app)] == ["digits", "rded", "herding", "random", "minimax"] * 2


# -- costs -------------------------------------------------------------------------------------------------------


async def test_costs_by_stage_condenser_and_gpu_type(made: Study) -> None:
    """Types stay apart, what was not measured is empty; below totals, budget, waste by cause and the source."""
    app = watch(made)
    async with app.run_test(size=(100, 40)) as pilot:
        await at(pilot, app, Cost)
        assert grid_lines(app)[1] == ("condense", "herding", "CPU", "3", "0.000", "0.400", "", "")
        assert grid_lines(app)[3] == ("condense", "minimax", "h100", "1", "7.500", "9.000", "3.600", "B")
        text = "\n".join(page(app))
        assert "13.60 GPU-h h100 of 18.00 to 27.00 planned" in text
        assert "budget 17.80 + 9.00 reserved of 40 GPU-h" in text
        assert [line.split() for line in page(app) if line.startswith("failed")] == [["failed", "1.90", "2.20"]]
        assert "charged by Slurm's accounting" in text
        assert "grades: A own GPUs" in text


# -- sets --------------------------------------------------------------------------------------------------------


async def test_a_set_has_facts_and_pictures(made: Study) -> None:
    """Asked for from an evaluation of it: the card of its set, pixels as they are in the file."""
    app = watch(made)
    async with app.run_test(size=(100, 60)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        evaluation = next(
            held.key
            for held in made.shot.rows
            if held.stage == "evaluate" and (held.label.condenser, held.label.ipc) == ("rded", 10)
        )
        app.front.post_message(View.Opened("set", evaluation))
        await until(pilot, lambda: bool(app.query(Card)) and bool(app.query_one(Card).picture))
        facts = dict(app.query_one(Card).facts)
        assert facts["set"] == "digits rded ipc 10 set 0"
        assert facts["took"] == "wall 55 min, gpu 54 min, cpu 1.1 h, 0.36 kWh (grade A)"
        assert facts["erm convnet3"] == "56.75 % top-1 (3)"
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        (first,) = [strip for strip in strips if "".join(s.text for s in strip)[58:62] == "zero"]
        halves = [segment.style for segment in first if segment.text == "▀"]
        assert len(halves) == 8 * 3
        assert halves[0] is not None
        assert halves[0].color is not None
        assert halves[0].bgcolor is not None
        assert halves[0].color.triplet == (9, 9, 0)
        assert halves[0].bgcolor.triplet == (9, 43, 0)


async def test_sets_that_are_not_made_say_so(made: Study) -> None:
    """The card follows the cursor, and a set that is recorded meanwhile."""
    app, source = watching(made.shot, poll_s=0.05, folder=made.made.run, layout=made.made.layout, clock=lambda: NOW_S)
    async with app.run_test(size=(100, 40)) as pilot:
        await at(pilot, app, Sets)
        await pilot.press("G")
        await until(pilot, lambda: ("", "not made yet: pictures come with its record") in app.query_one(Card).facts)
        assert app.query_one(Card).facts[0] == ("set", "digits minimax ipc 50 set 0")
        key = app.front.selected[0]
        made.made.record(key, {"count": 500})
        rows = [msgspec.structs.replace(r, state="recorded") if r.key == key else r for r in made.shot.rows]
        source.now = msgspec.structs.replace(made.shot, rows=rows)
        await until(pilot, lambda: ("count", "500") in app.query_one(Card).facts)


async def test_a_task_without_a_set_of_its_own_is_told(made: Study) -> None:
    """A teacher belongs to many."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        app.front.post_message(View.Opened("set", made.shot.rows[0].key))
        await until(pilot, lambda: any("has no condensed set" in notice.message for notice in app._notifications))


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (40, 12)])
async def test_all_that_is_said_of_a_set_can_be_read(size: tuple[int, int]) -> None:
    """Long values and notes fold, below their names where the screen is narrow; one scrolls through all of them."""
    path = "/store/" + "/".join(f"folder{i:02d}" for i in range(20)) + "/set.h5"
    note = "the set is gone: " + " ".join(f"reason{i:02d}" for i in range(20))
    app, _ = watching(shot())
    async with app.run_test(size=size) as pilot:
        await at(pilot, app, Sets)
        card = app.query_one(Card)
        card.set_card(
            SetCard("digits rded", [("a name that is longer than its column", "x"), ("file", path)], None, note)
        )
        card.focus()
        await pilot.pause()
        seen: list[str] = []
        for top in range(card.virtual_size.height):
            card.scroll_to(y=top, animate=False, force=True, immediate=True)
            strip = card.render_line(min(top - card.scroll_offset.y, card.size.height - 1))
            assert strip.cell_length == card.size.width
            seen.append(strip.text)
        text = "".join(line[24:] if line.startswith(("file ", " " * 24)) else line for line in seen).replace(" ", "")
        assert path in text
        assert note.replace(" ", "") in text
        assert "longer" in text
        assert "column" in text


@pytest.mark.parametrize("how", ["no colours", "ascii"])
async def test_without_colours_there_are_shades(made: Study, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under NO_COLOR and on ASCII terminals brightness is told by characters."""
    if how == "no colours":
        monkeypatch.setenv("NO_COLOR", "1")
    app = watch(made)
    if how == "ascii":
        app.driver_class = AsciiDriver
    assert not shows_colours(app)
    async with app.run_test(size=(100, 60)) as pilot:
        await at(pilot, app, Sets)
        key = next(r.key for r in made.shot.rows if (r.label.condenser, r.label.ipc) == ("rded", 10))
        app.front.about(key)
        await until(pilot, lambda: bool(app.query_one(Card).picture))
        await pilot.pause()
        (line,) = [line[58:] for line in screen(app) if line[58:62] == "zero"]
        assert line.isascii()
        assert len(set(line[15:24])) > 2
        os.environ.pop("NO_COLOR", None)


# -- all of them -------------------------------------------------------------------------------------------------


async def test_any_terminal_size_works(made: Study) -> None:
    """Every view, moved about in, resized in between."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        for place in "1234567":
            await pilot.press(place, "G", "k", "p")
            for size in ((40, 10), (20, 5), (200, 60)):
                await pilot.resize_terminal(*size)
        await pilot.press("q")
    assert app.return_code == 0


async def test_an_empty_store_opens() -> None:
    """No task, no cost, no cell: words in every view."""
    app, _ = watching(shot())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        for place, words in (
            ("3", "nothing failed"), ("4", "no evaluation is planned"), ("5", "nothing was charged yet"),
            ("7", "no condensed set is planned"),
        ):  # fmt: skip
            await pilot.press(place, "enter", "m", "p")
            await pilot.pause()
            assert words in "\n".join(screen(app))


async def test_evil_text_is_shown_and_never_obeyed() -> None:
    """In every field that a view shows: no markup, no escape, no crash."""
    app, source = watching(evil_shot([EVIL[0]] * 12), poll_s=0.3)
    async with app.run_test(size=(130, 40)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        for first in range(3):
            source.now = evil_shot([EVIL[(first + 2 * place) % len(EVIL)] for place in range(12)])
            await until(pilot, lambda: app.shot is source.now)
            await walk(pilot, app)


async def walk(pilot: Pilot[None], app: Watch) -> None:
    """Through all views; what was painted has nothing that a terminal obeys."""
    for place in "34567":
        await pilot.press(place, "p")
        await pilot.pause()
        for line in screen(app):
            assert printable(line) == line
    assert app.is_running


def evil_shot(texts: Sequence[str]) -> Snapshot:
    """A snapshot with these texts wherever texts may stand."""
    a, b, c, d, e, f, g, h, i, j, k, m = texts
    label = Label(dataset=a, condenser=b, ipc=1, protocol=c, student=d)
    group = FailureGroup(
        signature=e, example=f, state="failed", stages=["condense"], slurm_state=g, nodes=[h], keys=["a" * 32, i]
    )
    seeds = [SeedResult(set_seed=0, student_seed=0, key=j, state="recorded", top1_pct=1.0)]
    cell = CellResult(
        dataset=a, condenser=b, ipc=1, protocol=c, student=d, planned=1, n=1, pending=0, failed=0, mean_pct=1.0,
        seeds=seeds, measures={k: 1.0, "gpu_h": 1.0},
    )  # fmt: skip
    line = CostLine(stage="condense", condenser=b, gpu_type=m, tasks=1, gpu_h=1.0, cpu_h=1.0, grade=g)
    costs = Costs(source=h, lines=[line], gpu_h={m: 1.0}, waste_gpu_h={f: 1.0}, grade=e)
    rows = [
        row("a" * 32, "failed", e),
        msgspec.structs.replace(row("b" * 32, "recorded"), label=label, host=h, element=i),
    ]
    return shot(*rows, problems=(f,), outlook=Outlook(failures=[group], cells=[cell], costs=costs, notes=[k]))
