"""From counters of a node's processors and memory to energy figures. Clock and files are handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from condhpc.allotment import Allotment
from condhpc.counters import MAX_PACKAGE_W, Counter
from condhpc.energy import Energy, Power
from condhpc.power_sources import Domain

NodePart = Literal["cpu", "dram"]
_SHORTEST_S = 1.0
_OPENING_S = 2.0
_WHOLE = 0.95
_GIB = 2**30


class NodeTrack:
    """Packages and DRAM of a node over the time of an attempt."""

    def __init__(self, domains: Sequence[Domain]) -> None:
        self._parts = {domain.name: domain.part for domain in domains}
        self._counters = {domain.name: Counter(1e-6, domain.range_uj) for domain in domains}

    def note(self, at_s: float, values_uj: Mapping[str, int]) -> None:
        """One look at `at_s`; a domain that does not answer is left out."""
        for name, value in values_uj.items():
            self._counters[name].note(at_s, value)

    def counters(self, part: NodePart) -> list[Counter]:
        """Counters of one part of the node."""
        return [counter for name, counter in self._counters.items() if self._parts[name] == part]


def energy(part: NodePart, counters: Sequence[Counter], allotment: Allotment, wall_s: float) -> Energy | None:
    """The measured figure of one part; None where nothing was counted, so that it is to be modelled.

    Counters are of the whole node, whose other users' energy is left out by the share of cores.
    """
    if not counters or min(counter.span_s for counter in counters) < _SHORTEST_S:
        return None
    window_s = round(min(counter.span_s for counter in counters), 3)
    name = "RAPL package" if part == "cpu" else "RAPL DRAM"
    for counter in counters:
        watts = counter.joules / counter.span_s
        if not 0 < watts <= MAX_PACKAGE_W:
            return Energy(part, None, "none", f"{name} counter refused: {watts:.0f} W on average", window_s)
    doubts = _doubts(counters, allotment, wall_s)
    joules = sum(counter.joules for counter in counters) * allotment.share
    words = ", ".join([f"{name} counters", *(doubts or ["exclusive node"])])
    return Energy(part, round(joules, 3), "C" if doubts else "B", words, window_s)


def _doubts(counters: Sequence[Counter], allotment: Allotment, wall_s: float) -> list[str]:
    """What makes them less than a measurement of a node of one's own."""
    found = []
    if not allotment.is_exclusive:
        found.append(f"shared by cores: {allotment.cores:g} of {allotment.node_cores}")
    if restarts := sum(counter.restarts for counter in counters):
        found.append(f"restarted {restarts} ×")
    if blind_s := max(counter.blind_s for counter in counters):
        found.append(f"{blind_s:.0f} s in which a wrap may have been missed")
    span_s = min(counter.span_s for counter in counters)
    if span_s < min(_WHOLE * wall_s, wall_s - _OPENING_S):
        found.append(f"{span_s:.1f} of {wall_s:.1f} s seen")
    return found


def modelled_cpu(cpu_s: float, wall_s: float, power: Power, why: str) -> Energy:
    """Cores × watts per core × utilisation × time: CPU seconds times watts per core."""
    if power.cpu_w_per_core is None:
        return Energy("cpu", None, "none", f"{why}; no cpu_w_per_core in the profile", round(wall_s, 3))
    source = f"{why}; CPU time × {power.cpu_w_per_core:g} W per core ({power.cpu_w_source})"
    return Energy("cpu", round(cpu_s * power.cpu_w_per_core, 3), "C", source, round(wall_s, 3))


def modelled_dram(allotment: Allotment, byte_s: float, wall_s: float, power: Power, why: str) -> Energy:
    """Memory × watts per GiB × time: of what processes held, else of what Slurm gave."""
    window_s = round(wall_s, 3)
    if power.dram_w_per_gb is None:
        return Energy("dram", None, "none", f"{why}; no dram_w_per_gb in the profile", window_s)
    rate = f"{power.dram_w_per_gb:g} W per GiB ({power.dram_w_source})"
    if byte_s > 0:
        joules = byte_s / _GIB * power.dram_w_per_gb
        return Energy("dram", round(joules, 3), "C", f"{why}; resident memory × {rate}", window_s)
    if allotment.memory_gib is None:
        return Energy("dram", None, "none", f"{why}; neither resident nor allotted memory is known", window_s)
    joules = allotment.memory_gib * power.dram_w_per_gb * wall_s
    return Energy("dram", round(joules, 3), "D", f"{why}; allotted memory × time × {rate}", window_s)
