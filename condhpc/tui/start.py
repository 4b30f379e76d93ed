"""Starts `condhpc watch` as the user's terminal, locale and file of keys want it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from textual.driver import Driver
from textual.theme import BUILTIN_THEMES

from condhpc import runs
from condhpc.layout import Layout, RunFolder
from condhpc.tui import config
from condhpc.tui.acting import Acting
from condhpc.tui.app import Watch
from condhpc.tui.ascii_driver import AsciiDriver, is_ascii_only
from condhpc.tui.ask import Ask
from condhpc.tui.doer import Doer
from condhpc.tui.grid import Grid
from condhpc.tui.help import Help, Menu
from condhpc.tui.page import Page
from condhpc.tui.poller import Source
from condhpc.tui.set_view import Card
from condhpc.tui.text_pane import TextPane
from condhpc.tui.view import Setting
from condhpc.tui.views import VIEWS
from condhpc.tui.waiting import Waiting

_SWITCH_S = 0.001


def watch(
    source: Source,
    poll_s: float,
    folder: RunFolder,
    layout: Layout,
    environ: Mapping[str, str],
    doer: Doer | None = None,
    *,
    read_only: bool,
) -> int:
    """Watch a run until the user has seen enough; the exit code. Raises InputError for a wrong file of keys.

    `doer` acts on the run; None: nothing can be done to it.
    """
    tuned()
    mine = own(environ)
    setting = Setting(
        clock=time.time,
        folder=folder,
        layout=layout,
        doer=doer,
        read_only=read_only,
        keys=mine.keys,
        theme=mine.theme,
    )
    app = Watch(source, poll_s, setting, driver_class=_driver(environ))
    app.run()
    return app.return_code or 0


def found(layout: Layout, name: str | None, environ: Mapping[str, str]) -> RunFolder | int:
    """The run of that name, or the newest one; raises InputError.

    Without a name, where there is none yet: the first one as soon as it is there, or the exit code of a user who left.
    """
    if name is not None or any(layout.run(run).plan.exists() for run in layout.run_names()):
        return runs.find(layout, name)
    mine = own(environ)
    app = Waiting(layout, mine.theme, mine.keys, _driver(environ))
    first = app.run()
    return (app.return_code or 0) if first is None else first


def _driver(environ: Mapping[str, str]) -> type[Driver] | None:
    return AsciiDriver if is_ascii_only(environ) else None


def tuned() -> None:
    """Let the screen's thread have its turn sooner beside the one that looks at the run: 5 ms, many times, are seen."""
    sys.setswitchinterval(_SWITCH_S)


def own(environ: Mapping[str, str]) -> config.Config:
    """The user's file of keys and colours; raises InputError for what it cannot mean."""
    actions = config.actions_of((Watch, Acting, Grid, Page, TextPane, Card, Help, Menu, Ask, *VIEWS))
    return config.load(environ, actions, BUILTIN_THEMES)
