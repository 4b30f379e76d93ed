"""Pictures of `condhpc watch` for the README, from a made study: `python tests/screenshots.py` writes them anew."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from made_screens import picture
from made_shots import NOW_S, until, watching
from made_study import LOG, Study, study

from condhpc.findings import Row
from condhpc.tui.app import Watch
from condhpc.tui.card import Card
from condhpc.tui.page import Page
from condhpc.tui.text_pane import TextPane
from condhpc.tui.view import View

FOLDER = Path(__file__).parent / "screenshots"
SIZE = (104, 30)
Ready = Callable[[Watch], bool]


def _at_once(app: Watch) -> bool:
    return app.is_running


SHOTS: dict[str, tuple[str, Ready]] = {
    "overview": ("1", _at_once),
    "tasks": ("2 j j j j right", _at_once),
    "failures": ("3", lambda app: LOG[-1] in app.front.query_one(Page).lines),
    "results": ("4 j j j", _at_once),
    "plot": ("4 j j j p", _at_once),
    "cost": ("5", _at_once),
    "log": ("", lambda app: len(app.query_one(TextPane).lines) > len(LOG)),
    "set": ("", lambda app: bool(app.query_one(Card).picture)),
}
"""By name: keys to press, and what must hold before the picture is taken."""


async def taken(made: Study, name: str) -> str:
    """One picture."""
    pressed, ready = SHOTS[name]
    app, _ = watching(made.shot, clock=lambda: NOW_S, folder=made.made.run, layout=made.made.layout)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press(*pressed.split())
        if name in {"log", "set"}:
            wanted = next(row.key for row in made.shot.rows if _is_wanted(name, row))
            app.front.post_message(View.Opened(name, wanted))
        await until(pilot, lambda: ready(app))
        await pilot.pause()
        await pilot.pause()
        return picture(app)


def _is_wanted(name: str, row: Row) -> bool:
    return row.state == "failed" if name == "log" else (row.label.condenser, row.label.ipc) == ("rded", 10)


def pictures() -> Iterator[tuple[str, str]]:
    """All of them by name; paths in them are relative, so that they are the same everywhere."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        made = study(Path("scratch"))
        for name in SHOTS:
            yield name, asyncio.run(taken(made, name))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, svg in pictures():
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
