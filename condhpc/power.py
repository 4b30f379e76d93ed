"""Watts behind a GPU-hour or a CPU-hour, as a range: recorded where it is, else nominal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from condhpc.calibration import spread
from condhpc.cost_model import Gpu
from condhpc.energy import Energy, Power, tdp_w

CORE_W = 8.0
"""Of a server's CPU per core: 250 W and 32 cores (Xeon 8358) [P], 280 W and 64 cores (EPYC 7763) are 4.4 [P]."""
_LEAST = 0.4
"""Share of its nominal power that hardware under work takes at least [E]; the most is all of it."""
_USUAL = 0.7
"""The same, in between [E]."""
_J_PER_KWH = 3.6e6


class Watts(NamedTuple):
    """Watts per device that hours are of."""

    low_w: float
    mid_w: float
    high_w: float
    source: str

    def kwh(self, low_h: float, mid_h: float, high_h: float) -> tuple[float, float, float]:
        """Energy of a range of hours, kWh: the least of both to the most of both."""
        return low_h * self.low_w / 1e3, mid_h * self.mid_w / 1e3, high_h * self.high_w / 1e3


def recorded(pairs: Sequence[tuple[float, float]]) -> Watts | None:
    """By (joules, seconds of the device) of past records; None without any."""
    known = [(joules, seconds) for joules, seconds in pairs if joules > 0 and seconds > 0]
    if not known:
        return None
    found = spread(known)
    return Watts(found.low, found.mid, found.high, f"recorded energy of {len(known)} tasks")


def of_gpu(gpu: Gpu, name: str, cores: float, site: Power) -> Watts:
    """Nominal: a GPU with its share of cores, between 40 % and all of their rated power; the site's figures first."""
    told_w = tdp_w(site, name)
    watts, source = (gpu.tdp_w, f"rated power of {gpu.name}") if told_w is None else (told_w, site.gpu_tdp_source)
    core = of_core(site)
    return _nominal(watts + cores * core.high_w, f"{source}, {watts:g} W, and {core.source}")


def of_core(site: Power) -> Watts:
    """Nominal, of one core."""
    if site.cpu_w_per_core is None:
        return _nominal(CORE_W, f"{CORE_W:g} W a core")
    return _nominal(site.cpu_w_per_core, f"{site.cpu_w_per_core:g} W a core ({site.cpu_w_source})")


def _nominal(watts: float, source: str) -> Watts:
    return Watts(_LEAST * watts, _USUAL * watts, watts, source)


def joules(parts: Iterable[Energy], *, gpu: bool) -> float | None:
    """Of all parts of a node that worked for a task; None where the part that matters was not measured.

    A node's figure holds its parts, so it stands in only where these are missing.
    """
    known = {part.part: part.joules for part in parts if part.joules is not None}
    main = "gpu" if gpu else "cpu"
    if main in known:
        return sum(value for part, value in known.items() if part != "node")
    return known.get("node")
