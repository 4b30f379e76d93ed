"""Watts behind a GPU-hour or a CPU-hour, as a range: recorded where it is, else nominal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from condhpc.calibration import spread
from condhpc.cost_model import Gpu
from condhpc.energy import Energy

CORE_W = 8.0
"""Of a server's CPU per core: 250 W and 32 cores (Xeon 8358) [P], 280 W and 64 cores (EPYC 7763) are 4.4 [P]."""
_LEAST = 0.4
"""Share of its nominal power that hardware under work takes at least [E]; the most is all of it."""
_USUAL = 0.7
"""The same, in between [E]."""
_J_PER_KWH = 3.6e6


class Power(NamedTuple):
    """Watts per device that hours are of."""

    low_w: float
    mid_w: float
    high_w: float
    source: str

    def kwh(self, low_h: float, mid_h: float, high_h: float) -> tuple[float, float, float]:
        """Energy of a range of hours, kWh: the least of both to the most of both."""
        return low_h * self.low_w / 1e3, mid_h * self.mid_w / 1e3, high_h * self.high_w / 1e3


def recorded(pairs: Sequence[tuple[float, float]]) -> Power | None:
    """By (joules, seconds of the device) of past records; None without any."""
    known = [(joules, seconds) for joules, seconds in pairs if joules > 0 and seconds > 0]
    if not known:
        return None
    found = spread(known)
    return Power(found.low, found.mid, found.high, f"recorded energy of {len(known)} tasks")


def of_gpu(gpu: Gpu, cores: float) -> Power:
    """Nominal: a GPU with its share of cores, between 40 % and all of their rated power."""
    return _nominal(gpu.tdp_w + cores * CORE_W, f"rated power of {gpu.name}, {gpu.tdp_w:g} W, and {CORE_W:g} W a core")


def of_core() -> Power:
    """Nominal, of one core."""
    return _nominal(CORE_W, f"{CORE_W:g} W a core")


def _nominal(watts: float, source: str) -> Power:
    return Power(_LEAST * watts, _USUAL * watts, watts, source)


def joules(parts: Iterable[Energy], *, gpu: bool) -> float | None:
    """Of all parts of a node that worked for a task; None where the part that matters was not measured.

    A node's figure holds its parts, so it stands in only where these are missing.
    """
    known = {part.part: part.joules for part in parts if part.joules is not None}
    main = "gpu" if gpu else "cpu"
    if main in known:
        return sum(value for part, value in known.items() if part != "node")
    return known.get("node")
