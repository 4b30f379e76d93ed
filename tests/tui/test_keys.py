"""The README's table of keys and the app's are one."""

from __future__ import annotations

import re
from pathlib import Path

from condhpc.tui import config
from condhpc.tui.acting import Acting
from condhpc.tui.app import Watch
from condhpc.tui.ask import Ask
from condhpc.tui.grid import Grid
from condhpc.tui.help import Help, Menu
from condhpc.tui.views import VIEWS

README = Path(__file__).parents[2] / "README.md"
_MOVING = re.compile(r"\w+\.(up|down|left|right|page_up|page_down|first|last)")


def test_every_action_stands_in_the_readme() -> None:
    """With the name by which a user's file gives it other keys; names that no action has do not stand there."""
    text = README.read_text(encoding="utf-8").partition("## Watching a run\n")[2].partition("\n## ")[0]
    table = text.partition("| where | keys |")[2].partition("\n\n")[0]
    actions = config.actions_of((Watch, Acting, Help, Menu, Ask, Grid, *VIEWS))
    documented = set(re.findall(r"`((?:app|act|grid|tasks|results|log|set|ask|menu|help)\.\w+)`", table))
    assert documented == {action for action in actions if not _MOVING.fullmatch(action)}


def test_every_view_stands_in_the_readme() -> None:
    """With its key and its title."""
    text = README.read_text(encoding="utf-8")
    assert all(f"| `{place}` {view.TITLE} |" in text for place, view in enumerate(VIEWS, 1))
