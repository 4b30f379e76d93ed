"""Views over what the program itself finds: a store on disk, its observer, its outlooks, its actions."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from made_runs import MadeRun
from made_shots import until, watching
from textual.pilot import Pilot

from condhpc import profile as profiles
from condhpc.actions import Actions
from condhpc.files import publish
from condhpc.observe import Observer
from condhpc.steward import Beside
from condhpc.tui.app import Watch
from condhpc.tui.ask import Ask
from condhpc.tui.view import Setting

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A run on this machine: two sets evaluated twice each, one evaluation failed, one set never made."""
    run = MadeRun(root)
    random, herding, rest = run.condense("random"), run.condense("herding"), run.condense("rded")
    evaluations = [run.evaluate(of, seed) for of in (random, herding) for seed in range(2)]
    run.evaluate(rest)
    run.write()
    publish(run.run.profile, profiles.encode(profiles.resolve(None, str(root), dict(os.environ))))
    run.pool(random, herding, *evaluations, pids={})
    for key in (random, herding):
        run.record(key, {"count": 10})
    for key, top1_pct in zip(evaluations[:3], (40.0, 42.0, 50.0), strict=True):
        run.record(key, {"top1_pct": top1_pct})
    run.ended(evaluations[3], "failed", "Traceback\nValueError: boom")
    return run


def watch(made: MadeRun) -> Watch:
    """The app as the command starts it."""
    held = profiles.of_run(made.run.profile)
    source = Beside(Observer(made.run, made.layout, None), made.run, held, None)
    doer = Actions(made.run, made.layout, held)
    return Watch(source, 60.0, Setting(clock=time.time, folder=made.run, layout=made.layout, doer=doer))


def lines(app: Watch) -> list[tuple[str, ...]]:
    """The table in front."""
    grid = app.front.grid
    assert grid is not None
    return [grid.table.cells(key) for key in grid.table.shown]


async def at(pilot: Pilot[None], app: Watch, place: str) -> None:
    """That view, with what the run says in full."""
    await until(pilot, lambda: app.shot is not None and bool(app.shot.outlook.cells))
    await pilot.press(place)
    await pilot.pause()


async def test_views_show_what_the_store_holds(made: MadeRun) -> None:
    """Means and holes, the cause of a failure with its class, and a log that is not there."""
    app = watch(made)
    async with app.run_test(size=(110, 30)) as pilot:
        await at(pilot, app, "4")
        cells = {line[0]: line[1] for line in lines(app)}
        assert cells["random"] == " 41.00 ±1.41 (2)"
        assert cells["herding"].startswith("*50.00 (1/2)")
        assert cells["rded"].startswith(" - (0/1)")
        await pilot.press("3")
        await pilot.pause()
        (cause,) = [line for line in lines(app) if line[1] == "failed"]
        assert (cause[0], cause[2]) == ("1", "code")
        assert "ValueError: boom" in cause[4]


async def test_what_is_not_running_cannot_be_cancelled(made: MadeRun) -> None:
    """Real stakes: nothing of it waits, so nothing is asked."""
    app = watch(made)
    async with app.run_test(size=(110, 30)) as pilot:
        await at(pilot, app, "2")
        await pilot.press("A", "c")
        await until(pilot, lambda: any("nothing of it waits or runs" in n.message for n in app._notifications))


async def test_a_colleagues_run_is_looked_at_only(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results are shown; acting on it is refused in words."""
    monkeypatch.setattr(os, "getuid", lambda: made.run.path.stat().st_uid + 1)
    app = watch(made)
    async with app.run_test(size=(110, 30)) as pilot:
        await at(pilot, app, "3")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Ask) and bool(app.screen.query("Button")))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: any("another user's" in n.message for n in app._notifications))


async def test_a_run_without_a_plan_opens(root: Path) -> None:
    """An interrupted submission: words in every view."""
    run = MadeRun(root)
    app, _ = watching(Observer(run.run, run.layout, None).snapshot(), folder=run.run, layout=run.layout)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press(*"1234567")
        await pilot.pause()
        assert app.is_running
