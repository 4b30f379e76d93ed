"""Other runs of a root, where they compute what a run did not have to send."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from condhpc.errors import first_few
from condhpc.layout import Layout
from condhpc.run_view import RunView


class Others:
    """Views of the runs that hold a task which one run misses; `refresh` reads only what is new."""

    def __init__(self, layout: Layout, own: str) -> None:
        self._layout = layout
        self._own = own
        self.wanted: Collection[str] = ()
        """Keys that were not recorded when the run was planned."""
        self._missing: frozenset[str] = frozenset()
        self._version = -1
        self._known: dict[str, RunView] = {}
        self.views: list[RunView] = []
        """Those that hold a wanted task."""
        self._closed: dict[str, str] = {}
        """Runs that may not be read, and why."""

    def refresh(self, own: RunView) -> None:
        """Look at the other runs; none of them where all that is wanted was sent by the run itself."""
        if own.version != self._version:
            self._version = own.version
            self._missing = frozenset(key for key in self.wanted if key not in own.places)
        if not self._missing:
            return
        for name in self._layout.run_names():
            if name != self._own and name not in self._known:
                self._known[name] = RunView(self._layout.run(name), only=self._missing)
        self._closed = {}
        for name, view in self._known.items():
            try:
                view.refresh()
            except PermissionError as error:  # a colleague's who shares the root, not the run
                self._closed[name] = str(error.strerror)
        self.views = [view for view in self._known.values() if view.submissions]

    def problems(self) -> Iterator[str]:
        """One line on runs that cannot be looked at."""
        if self._closed:
            named = first_few([f"{name} ({why})" for name, why in self._closed.items()], 3)
            yield f"other runs that cannot be read: {named}; whether they compute what this one did not send is unknown"
