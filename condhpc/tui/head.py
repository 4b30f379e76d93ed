"""The lines above all views: which run, how it stands, how old that is, what is wrong; and the views' names."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from condhpc.findings import Snapshot
from condhpc.tables import duration
from condhpc.task_state import STATES


def head_text(shot: Snapshot | None, trouble: str, now: float, *, asleep: bool = False) -> str:
    """Run, state, counts, age of the data; below it what is wrong."""
    if shot is None:
        return trouble or "looking …"
    counts = ", ".join(f"{shot.total(state)} {state}" for state in STATES if shot.total(state)) or "no tasks"
    seen_s = shot.queue_s if shot.queue_error else shot.taken_s
    age = "queue unknown" if seen_s is None else f"data {duration(now - seen_s)} old"
    age += ", asleep until a key is pressed" if asleep else ""
    problem = trouble or (shot.problems[0] if shot.problems else "")
    head = f"{shot.run}: {shot.state} · {counts} · {age}"
    return f"{head}\n{problem}" if problem else head


_WIDE = 200
"""Before anybody knows how wide the screen is."""


class Names(Static):
    """`1 Overview [2 Tasks] 3 Failures`; a click goes there."""

    DEFAULT_CSS = "Names { height: 1; }"

    class Clicked(Message):
        """Go to the view of this index."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__(markup=False, id="names")
        self._titles = titles
        self._ends: list[int] = []
        self._front, self._note = 0, ""

    def mark(self, front: int, note: str = "") -> None:
        """The view of this index is in front: brackets say so, too. `note` is what it hides."""
        self._front, self._note = front, note
        names = [f"{index + 1} {title}" for index, title in enumerate(self._titles)]
        room = (self.size.width or _WIDE) - len(self._note)
        if sum(len(name) + 2 for name in names) > room:
            names = [name if index == front else name.partition(" ")[0] for index, name in enumerate(names)]
        text = Text(no_wrap=True, overflow="ellipsis")
        self._ends = []
        for index, name in enumerate(names):
            text.append(f"[{name}]" if index == front else f" {name} ", Style(reverse=index == front))
            self._ends.append(len(text))
        if note and not text.plain.endswith(" "):
            text.append(" ")
        self.update(text.append(note))

    def on_resize(self) -> None:
        """Narrow screens have numbers for the views in the back."""
        self.mark(self._front, self._note)

    def on_click(self, event: Click) -> None:
        """Which name is under the mouse."""
        found = [index for index, end in enumerate(self._ends) if event.x < end]
        if found:
            self.post_message(self.Clicked(found[0]))
