"""Which run `condhpc watch` starts with."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc.errors import InputError
from condhpc.layout import Layout
from condhpc.tui import start


def test_a_name_is_never_waited_for(root: Path) -> None:
    """A run that is meant by its name is there, or that name is wrong."""
    with pytest.raises(InputError, match="there are no runs"):
        start.found(Layout(root), "mine", {})
    made = MadeRun(root)
    with pytest.raises(InputError, match="matches no run"):
        start.found(made.layout, "mine", {})
    assert start.found(made.layout, "made", {}) == made.run


def test_without_a_name_it_is_the_newest_run(root: Path) -> None:
    """As soon as any run has a plan, there is something to look at."""
    for name in ("z-20260101T000000Z", "a-20270101T000000Z"):
        made = MadeRun(root, name)
        made.condense()
        made.write()
    assert start.found(made.layout, None, {}) == made.run
