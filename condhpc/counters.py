"""Energy counters that wrap, restart and fall silent, as joules since the first reading. Pure."""

from __future__ import annotations

MAX_PACKAGE_W = 1000.0
"""No domain of a node draws more; it says how long one may look away before a counter may have wrapped unseen."""


class Counter:
    """Sums the steps of one counter."""

    def __init__(self, unit_j: float, range_: int | None = None) -> None:
        self._unit_j = unit_j
        self._range = range_
        """Largest value of a counter that wraps; None: one that only ever restarts."""
        self._last: tuple[float, int] | None = None
        self.joules = 0.0
        self.span_s = 0.0
        """Seconds between readings that belong together."""
        self.wraps = 0
        self.restarts = 0
        """How often it was smaller than before, and no wrap explains that: what came between is not counted."""
        self.blind_s = 0.0
        """Seconds in which a wrap may have been missed."""

    def note(self, at_s: float, value: int | None) -> float | None:
        """Joules since the last reading; None where there is no last one to compare with.

        A silence is bridged: a counter that answers again has counted meanwhile.
        """
        if value is None:
            return None
        last, self._last = self._last, (at_s, value)
        if last is None or at_s <= last[0]:
            return None
        step = value - last[1]
        if step < 0:
            wrapped = None if self._range is None else step + self._range + 1
            if wrapped is None or wrapped * self._unit_j > MAX_PACKAGE_W * (at_s - last[0]):
                self.restarts += 1
                return None
            step = wrapped
            self.wraps += 1
        passed_s = at_s - last[0]
        if self._range is not None and passed_s * MAX_PACKAGE_W > self._range * self._unit_j:
            self.blind_s += passed_s
        self.span_s += passed_s
        self.joules += step * self._unit_j
        return step * self._unit_j
