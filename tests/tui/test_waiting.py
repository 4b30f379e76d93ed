"""The screen of a root without runs: what it says, and that the first run ends it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from made_runs import MadeRun
from made_shots import screen, until

from condhpc.layout import Layout
from condhpc.tui import waiting
from condhpc.tui.waiting import Waiting


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)


@pytest.fixture
def app(root: Path) -> Waiting:
    """On a root that is not there yet."""
    return Waiting(Layout(root))


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
async def test_it_says_where_it_looks_and_what_to_do(app: Waiting, root: Path, size: tuple[int, int]) -> None:
    """The root, the command that makes a run, and how to leave, on a small screen, too."""
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = "".join("".join(screen(app)).split())
        assert f"norunsyetunder{root}" in text
        assert "condhpcsubmitMANIFEST" in text
        await until(pilot, lambda: any("Quit" in line for line in screen(app)))
        await pilot.press("q")
    assert (app.return_value, app.return_code) == (None, 0)


async def test_the_first_run_ends_it(app: Waiting, root: Path) -> None:
    """As soon as its plan is there; a folder alone is a submission that is not through yet."""
    async with app.run_test() as pilot:
        made = MadeRun(root)
        made.condense()
        for _ in range(10):
            await pilot.pause(0.02)
        assert app.return_value is None
        made.write()
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == made.run


def test_of_two_runs_the_newest_is_meant(root: Path) -> None:
    """By the time in their names, not by these; the same that `watch` shows later."""
    assert waiting.newest(Layout(root)) is None
    for name in ("z-20260101T000000Z", "a-20270101T000000Z"):
        made = MadeRun(root, name)
        made.condense()
        made.write()
    assert waiting.newest(Layout(root)) == made.run


async def test_a_root_that_cannot_be_read_is_told(app: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on looking; once the root can be read the error is gone."""
    looks: list[int] = []
    newest = waiting.newest

    def refused(layout: Layout) -> None:
        looks.append(1)
        raise PermissionError(13, "Permission denied", str(layout.runs))

    monkeypatch.setattr(waiting, "newest", refused)
    async with app.run_test() as pilot:
        await until(pilot, lambda: len(looks) > 2)
        assert any("Permission denied" in line for line in screen(app))
        monkeypatch.setattr(waiting, "newest", newest)
        await until(pilot, lambda: any("no runs yet under" in line for line in screen(app)))
        assert not any("Permission denied" in line for line in screen(app))


async def test_signals_end_it(app: Waiting) -> None:
    """As they end the other screen."""
    async with app.run_test() as pilot:
        await pilot.pause()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(pilot, lambda: not app.is_running)
    assert (app.return_value, app.return_code) == (None, 143)


async def test_colours_and_keys_are_the_users_own(root: Path) -> None:
    """From the same file."""
    app = Waiting(Layout(root), "textual-light", {"app.quit": "f10"})
    async with app.run_test() as pilot:
        await pilot.press("q")
        assert app.is_running
        assert app.theme == "textual-light"
        await pilot.press("f10")
    assert app.return_code == 0
