"""One line on how far a run is, from hints alone: cheap enough for every second."""

from __future__ import annotations

from collections import Counter

from condhpc import runs
from condhpc.hints import RECORDED
from condhpc.layout import RunFolder
from condhpc.run_view import RunView
from condhpc.spec import STAGES


class Progress:
    """Counts of a run while its local workers go on."""

    def __init__(self, run: RunFolder) -> None:
        self._view = RunView(run)
        self._plan = runs.plan(run)
        self._stages = Counter(line.stage for line in self._plan)
        self._said = ""

    def line(self) -> str:
        """`teacher 1/1 · condense 3/8 · evaluate 0/16 · 1 failed`; empty where nothing changed since the last call."""
        self._view.refresh()
        recorded: Counter[str] = Counter()
        bad: Counter[str] = Counter()
        for task in self._plan:
            place = self._view.places.get(task.key)
            hint = self._view.hints.of(place.name, task.key) if place is not None else None
            if hint is not None and hint.result in {"failed", "blocked"}:
                bad[hint.result] += 1
            elif (hint is not None and hint.result in RECORDED) or (place is None and task.cached):
                recorded[task.stage] += 1
        parts = [f"{s} {recorded[s]}/{self._stages[s]}" for s in STAGES if self._stages[s]]
        text = " · ".join([*parts, *(f"{n} {result}" for result, n in sorted(bad.items()))])
        if text == self._said:
            return ""
        self._said = text
        return text
