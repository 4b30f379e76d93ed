"""`condhpc watch` where there is no run yet: it says what to do, and ends with the first run that is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
from textual.screen import Screen

from condhpc import runs
from condhpc.errors import CondhpcError
from condhpc.layout import Layout, RunFolder
from condhpc.tui.beside import begin, beside
from condhpc.tui.foot import Foot
from condhpc.tui.frame import LEAVING, Frame
from condhpc.tui.line import Line

LOOK_S = 2.0
_WHAT_TO_DO = """\
`condhpc submit MANIFEST` makes one, and it is shown here as soon as it is there.
`condhpc plan MANIFEST` says before what it would take.
`--root DIR` before `watch` or $CONDHPC_ROOT names another root."""


class Waiting(Frame[RunFolder]):
    """A screen without a run; its result is the newest run of the root, None where the user left before."""

    TITLE = "condhpc watch"
    CSS = """
    #head, #todo { max-height: 100; }
    #todo { padding: 1 0; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*LEAVING]

    def __init__(
        self, layout: Layout, theme: str = "", keys: Mapping[str, str] | None = None,
        driver_class: type[Driver] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(theme, keys or {}, driver_class)
        self._layout = layout
        self._head = Line(id="head")
        self._looks = False

    def compose(self) -> ComposeResult:
        """Where nothing is, and what to do."""
        yield self._head
        yield Line(_WHAT_TO_DO, id="todo")
        yield Foot()

    def on_mount(self) -> None:
        """Look again and again."""
        self._say_none()
        self.set_interval(LOOK_S, self._look_again)

    def _say_none(self) -> None:
        self._head.say(f"no runs yet under {self._layout.root}")

    def _look_again(self) -> None:
        """One look at a time: a file system may hang."""
        if not self._looks:
            self._looks = True
            begin(self, self._look, "look")

    async def _look(self) -> None:
        try:
            found = await beside(partial(newest, self._layout))
        except (CondhpcError, OSError) as error:
            self._head.say(str(error))
            found = None
        else:
            self._say_none()  # in place of an error that is over
        self._looks = False
        if found is not None:
            self.exit(found)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: colours, and the way out."""
        del screen
        yield SystemCommand("Theme", "Other colours", self.action_change_theme)
        yield SystemCommand("Quit", "q", self.action_quit)


def newest(layout: Layout) -> RunFolder | None:
    """The run that `watch` without a name means, once its plan is there: that is written last, before work is sent."""
    if not layout.run_names():
        return None
    found = runs.find(layout, None)
    return found if found.plan.exists() else None
