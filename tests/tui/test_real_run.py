"""Views over what the program itself finds: a store on disk, its observer, its outlooks, its actions."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from made_runs import MadeRun
from made_shots import head, screen, until, watching
from textual.pilot import Pilot

from condhpc import lease
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


def files(root: Path) -> dict[Path, int]:
    """All that there is, with the time of its last change."""
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


async def in_every_view(made: MadeRun) -> str:
    """The head, after each view was in front."""
    app = watch(made)
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: app.shot is not None and bool(app.shot.outlook.cells))
        for place in "1234567":
            await pilot.press(place)
            await pilot.pause()
            assert f"[{place} " in "\n".join(screen(app))
        return head(app)


async def test_a_run_on_this_machine_opens_while_it_goes_on(root: Path) -> None:
    """Workers of a pool live, here the test itself: what is not recorded is on its way."""
    made = MadeRun(root)
    first, second = made.condense(seed=0), made.condense(seed=1)
    made.evaluate(first)
    made.write()
    publish(made.run.profile, profiles.encode(profiles.resolve(None, str(root), dict(os.environ))))
    pool = made.pool(first, second, pids={str(os.getpid()): lease.process_start(os.getpid()) or 0})
    made.record(first, {"count": 10})
    made.hint(pool, 0, first, "recorded")
    assert "running · 1 recorded, 1 queued, 1 new" in await in_every_view(made)


async def test_a_finished_run_opens(made: MadeRun) -> None:
    """Days later, when nothing changes any more."""
    for key, task in made.tasks.items():
        if not made.layout.task(task.stage, key).record.exists():
            made.record(key, {"top1_pct": 60.0, "count": 10})
    made.pool(*made.tasks, pids={})
    assert f"done · {len(made.tasks)} recorded" in await in_every_view(made)


async def test_looking_at_a_colleagues_run_writes_nothing(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files cannot be written, and nothing tries: no file is new, changed or gone."""
    monkeypatch.setattr(os, "getuid", lambda: made.run.path.stat().st_uid + 1)
    before = files(made.layout.root)
    assert "failed" in await in_every_view(made)
    assert files(made.layout.root) == before


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
