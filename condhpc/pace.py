"""How far the stages of a run are and how fast they go, from rows as they change."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

from condhpc.findings import Row
from condhpc.outlook import Pace
from condhpc.spec import STAGES, Stage
from condhpc.task_state import BAD, MOVING, State

_WINDOW_S = 3600.0
_AT_LEAST = 10
"""Ends that a pace is taken over where fewer fall into the window."""
_FEWEST = 3
"""With fewer ends nobody can tell a pace."""
_HOUR_S = 3600.0


class _Of:
    """One stage."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        self.ends: list[float] = []
        """When tasks were recorded, as far as known."""
        self.running: dict[str, Row] = {}
        self.sorted = True

    def per_h(self, now_s: float) -> float | None:
        """Over the last hour, or over the last ten ends where these are longer ago: it sinks while nothing ends."""
        if not self.sorted:
            self.ends.sort()
            self.sorted = True
        recent = min(bisect_left(self.ends, now_s - _WINDOW_S), max(0, len(self.ends) - _AT_LEAST))
        count = len(self.ends) - recent
        if count < _FEWEST:
            return None
        # From one end to now there are as many as came after it.
        whole_hour = recent > 0 and self.ends[recent] >= now_s - _WINDOW_S and count > _AT_LEAST
        span_s = _WINDOW_S if whole_hour else now_s - self.ends[recent]
        return (count if whole_hour else count - 1) * _HOUR_S / span_s if span_s > 0 else None

    def done_by_running(self) -> float:
        """Tasks' worth of steps that running ones have done."""
        return sum(min(1.0, row.step / row.total) for row in self.running.values() if row.total > 0)

    def left_s(self, now_s: float, per_h: float | None) -> float | None:
        """What waits, runs or is still to be sent; not what failed, which is never done by itself."""
        todo = sum(n for state, n in self.states.items() if state not in BAD | {"recorded", "over_budget"})
        if not todo:
            return 0.0 if self.states["recorded"] == self.states.total() else None
        if not any(self.states[state] for state in MOVING):
            return None
        if per_h:
            return max(0.0, todo - self.done_by_running()) * _HOUR_S / per_h
        if todo > len(self.running):
            return None
        return self._left_by_steps(now_s)

    def _left_by_steps(self, now_s: float) -> float | None:
        """Where all that is left runs: by the slowest of them."""
        found = []
        for row in self.running.values():
            if row.since_s is None or not 0 < row.step <= row.total:
                return None
            found.append(max(0.0, now_s - row.since_s) * (row.total - row.step) / row.step)
        return max(found, default=None)


class Paces:
    """Of all stages; told of rows that changed."""

    def __init__(self) -> None:
        self._stages: dict[Stage, _Of] = defaultdict(_Of)

    def change(self, before: Row | None, after: Row) -> None:
        """A row is another one now."""
        of = self._stages[after.stage]
        if before is not None:
            of.states[before.state] -= 1
            if before.state == "recorded" and before.since_s is not None:
                of.ends.remove(before.since_s)
            of.running.pop(before.key, None)
        of.states[after.state] += 1
        if after.state == "recorded" and after.since_s is not None:
            of.ends.append(after.since_s)
            of.sorted = False
        if after.state == "running":
            of.running[after.key] = after

    def now(self, now_s: float) -> tuple[list[Pace], float | None]:
        """Each stage of the plan, and the time until all are done; None where one of them cannot be told."""
        found = [self._pace(stage, self._stages[stage], now_s) for stage in STAGES if stage in self._stages]
        return found, _left_s(found, self._stages)

    @staticmethod
    def _pace(stage: Stage, of: _Of, now_s: float) -> Pace:
        tasks, recorded = of.states.total(), of.states["recorded"]
        per_h = of.per_h(now_s) if recorded < tasks else None  # of a stage that is done it would sink for ever
        left_s = of.left_s(now_s, per_h)
        return Pace(
            stage=stage,
            tasks=tasks,
            recorded=recorded,
            progress=round((recorded + of.done_by_running()) / tasks, 6) if tasks else 0.0,
            per_h=None if per_h is None else round(per_h, 3),
            left_s=None if left_s is None else round(left_s, 1),
        )


def _left_s(found: Sequence[Pace], stages: dict[Stage, _Of]) -> float | None:
    """Stages go on beside each other: the longest. A stage that moves and cannot tell leaves all unknown."""
    if any(pace.left_s is None and any(stages[pace.stage].states[state] for state in MOVING) for pace in found):
        return None
    known = [pace.left_s for pace in found if pace.left_s is not None]
    return max(known) if known and len(known) == len(found) else None
