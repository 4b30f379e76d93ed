"""What all views of `condhpc watch` have in common, and what they are told."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from textual.containers import Vertical
from textual.message import Message

from condhpc.findings import Row, Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.tui.doer import Doer
from condhpc.tui.grid import Grid
from condhpc.tui.sheets import Sheet, of_grid


@dataclass(frozen=True)
class Setting:
    """Where and how a run is watched."""

    clock: Callable[[], float]
    folder: RunFolder | None = None
    """Folder of the run; None only where tests have none."""
    layout: Layout | None = None
    doer: Doer | None = None
    """Who acts on the run; None: nothing can be done."""
    read_only: bool = False
    """Actions that change anything are not offered."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The user's own keys: id of a binding to keys."""
    theme: str = ""
    """The user's own theme; empty: the default."""


class Update(Message):
    """A look at the run, and the tasks that are not what they were in the look that a view was shown before."""

    def __init__(self, snapshot: Snapshot, changed: Mapping[str, Row] | None) -> None:
        """`changed`: those tasks by key; None where tasks came, went or changed places, or nothing was shown before."""
        super().__init__()
        self.snapshot = snapshot
        self.changed = changed

    def after(self, missed: Update | None) -> Update:
        """The same for a view that was not shown the one before."""
        if missed is None:
            return self
        if self.changed is None or missed.changed is None:
            return Update(self.snapshot, None)
        return Update(self.snapshot, {**missed.changed, **self.changed})


class Known:
    """The newest row of one task and another. Searched for, not indexed: of 100,000 tasks an index takes 5 MB."""

    def __init__(self) -> None:
        self._rows: Sequence[Row] = ()
        self._key = ""
        self._place = -1

    def take(self, rows: Sequence[Row]) -> None:
        """The rows of a new look."""
        if not 0 <= self._place < len(rows) or rows[self._place].key != self._key:
            self._key, self._place = "", -1
        self._rows = rows

    def get(self, key: str) -> Row | None:
        """None where there is no such task; the same key again costs nothing."""
        if key != self._key:
            self._key = key
            self._place = next((place for place, row in enumerate(self._rows) if row.key == key), -1)
        return self._rows[self._place] if self._place >= 0 else None


class View(Vertical):
    """One screenful: overview, tasks, ...

    Only the view in front is shown updates. One that comes to the front is shown the newest, with all changes since
    its last one. Views take everything from updates, and compute nothing that `status --json` does not say.
    """

    TITLE: ClassVar[str]
    """Its word in the line of views, and in lower case its id."""
    DEFAULT_CSS = "View { height: 1fr; } View > Grid, View > Page { height: 1fr; }"

    class Opened(Message):
        """Ask for another view, about a task: its log, its condensed set."""

        def __init__(self, view: str, key: str) -> None:
            super().__init__()
            self.view, self.key = view, key

    def __init__(self, setting: Setting) -> None:
        super().__init__(id=self.TITLE.lower())
        self.setting = setting

    @abstractmethod
    def show(self, update: Update) -> None:
        """Take what is new."""

    def about(self, key: str) -> None:
        """Turn to a task, because another view asked for it; the next `show` may not have come yet."""

    @property
    def grid(self) -> Grid[Any] | None:
        """The table that `/`, `F`, sorting and marks work on; None for views without one."""
        return None

    def sheet(self) -> Sheet | None:
        """What `e` writes as CSV; None where there is no table."""
        return None if self.grid is None else of_grid(self.grid)

    @property
    def selected(self) -> list[str]:
        """Keys of tasks that an action concerns: marked and in sight, else under the cursor."""
        return [] if self.grid is None else self.tasks_of(self.grid.selected)

    @property
    def pointed(self) -> list[str]:
        """Keys of tasks under the cursor, whatever is marked: for what concerns one task."""
        return self.selected if self.grid is None else self.tasks_of(self.grid.pointed)

    def tasks_of(self, lines: list[str]) -> list[str]:
        """Keys of the tasks behind these rows of the grid; a row is a task where nothing else is said."""
        return lines

    @property
    def keep(self) -> Callable[[Any], bool] | None:
        """Which rows of the grid `F` keeps; None where failures are nothing to single out."""
        return None
